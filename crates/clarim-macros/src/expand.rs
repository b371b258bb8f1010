//! Generated implementations.

use clarim_protocol::{ChannelKind, ChannelName};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{DeriveInput, Error, Generics, LitStr, Path, Result, parse_quote};

use crate::attributes::Attributes;
use crate::template::Template;

/// Maximum length of a channel name, in bytes: that of Pusher's SDKs.
pub(crate) const MAX_NAME: usize = 200;

/// The derive: from the tokens of a type to the tokens of its implementations, or of a compile error.
pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    match Attributes::read(&input).and_then(|attributes| expand(&input, &attributes)) {
        Ok(code) => code,
        Err(error) => {
            let error = error.into_compile_error();
            let substitute = substitute(&input);
            quote!(#error #substitute)
        }
    }
}

/// Implementations for a type with an invalid attribute, so that its uses are not errors too.
fn substitute(input: &DeriveInput) -> TokenStream {
    let ident = &input.ident;
    let generics = serializable(input);
    let (generics, arguments, conditions) = generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #generics ::clarim::Broadcast for #ident #arguments #conditions {
            fn broadcast_on(
                &self,
            ) -> ::std::result::Result<::std::vec::Vec<::clarim::Channel>, ::clarim::InvalidChannel>
            {
                ::std::result::Result::Ok(::std::vec::Vec::new())
            }
        }

        #[automatically_derived]
        impl #generics ::clarim::EventType for #ident #arguments #conditions {
            type Payload = Self;

            fn event_name() -> ::clarim::EventName {
                ::clarim::EventName::from("")
            }
        }
    }
}

pub(crate) fn expand(input: &DeriveInput, attributes: &Attributes) -> Result<TokenStream> {
    let channels = attributes
        .channels
        .iter()
        .map(|(kind, text)| channel(input, *kind, text))
        .collect::<Result<Vec<_>>>()?;
    let name = event_name(input, attributes);
    let with = attributes.with.as_ref().map(|path| {
        let payload = call(path);
        // With its type written, the compiler checks that `payload` is right.
        let ty = attributes.payload.as_ref().map_or_else(|| quote!(_), |ty| quote!(#ty));
        quote! {
            fn broadcast_with(
                &self,
            ) -> ::clarim::serde_json::Result<::clarim::serde_json::Value> {
                let payload: #ty = #payload;
                ::clarim::serde_json::to_value(payload)
            }
        }
    });
    let when = attributes.when.as_ref().map(|path| {
        let condition = call(path);
        quote!(fn broadcast_when(&self) -> bool { #condition })
    });
    let delivery = delivery(input, attributes)?;
    let ident = &input.ident;
    let generics = serializable(input);
    let (generics, arguments, conditions) = generics.split_for_impl();
    let event_type = payload_type(attributes).map(|payload| {
        quote! {
            #[automatically_derived]
            impl #generics ::clarim::EventType for #ident #arguments #conditions {
                type Payload = #payload;

                fn event_name() -> ::clarim::EventName {
                    #name
                }
            }
        }
    });
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::clarim::Broadcast for #ident #arguments #conditions {
            fn broadcast_on(
                &self,
            ) -> ::std::result::Result<::std::vec::Vec<::clarim::Channel>, ::clarim::InvalidChannel>
            {
                ::std::result::Result::Ok(::std::vec![#(#channels?),*])
            }

            fn broadcast_as(&self) -> ::clarim::EventName {
                #name
            }

            #with

            #when

            fn delivery(&self) -> ::clarim::Delivery {
                #delivery
            }
        }

        #event_type
    })
}

/// The type's parameters, with the condition that it is `Serialize`.
pub(crate) fn serializable(input: &DeriveInput) -> Generics {
    let mut generics = input.generics.clone();
    // On a type without parameters, a missing Serialize would be reported at the derive instead of the type.
    if !generics.params.is_empty() {
        let bound = parse_quote!(Self: ::clarim::serde::Serialize);
        generics.make_where_clause().predicates.push(bound);
    }
    generics
}

fn event_name(input: &DeriveInput, attributes: &Attributes) -> TokenStream {
    match &attributes.name {
        Some(name) => quote!(::clarim::EventName::from(#name)),
        None => {
            let name = input.ident.to_string();
            quote!(::clarim::EventName::in_namespace(#name))
        }
    }
}

/// The type of the payload, unless `with` returns an unknown type.
fn payload_type(attributes: &Attributes) -> Option<TokenStream> {
    match (&attributes.with, &attributes.payload) {
        (None, _) => Some(quote!(Self)),
        (Some(_), payload) => payload.as_ref().map(|ty| quote!(#ty)),
    }
}

/// A call of a method of the event, or of a function that takes it.
fn call(path: &Path) -> TokenStream {
    match path.get_ident() {
        Some(method) => quote!(self.#method()),
        None => quote!(#path(self)),
    }
}

fn channel(input: &DeriveInput, kind: ChannelKind, text: &LitStr) -> Result<TokenStream> {
    let template = Template::parse(input, text)?;
    let sample = format!("{}{}", kind.prefix(), template.sample);
    let complain = |what: String| Error::new(text.span(), format!("`{}`: {what}", text.value()));
    let name =
        ChannelName::parse(&sample, MAX_NAME).map_err(|error| complain(error.to_string()))?;
    let inner = ChannelName::parse(&template.sample, MAX_NAME)
        .map_err(|error| complain(error.to_string()))?;
    let prefix = inner.kind().prefix();
    if name.kind() != kind || !prefix.is_empty() {
        return Err(complain(format!(
            "write the name without `{prefix}`; the attribute sets the kind of channel"
        )));
    }
    let name = template.expand();
    let constructor = format_ident!("{}", kind.label());
    Ok(quote!(::clarim::Channel::#constructor(#name)))
}

fn delivery(input: &DeriveInput, attributes: &Attributes) -> Result<TokenStream> {
    let mut delivery = if attributes.now {
        quote!(::clarim::Delivery::now())
    } else {
        quote!(::clarim::Delivery::queued())
    };
    let seconds = |number| quote!(::std::time::Duration::from_secs(#number));
    if let Some(queue) = &attributes.queue {
        delivery = quote!(#delivery.queue(#queue));
    }
    if let Some(connection) = &attributes.connection {
        delivery = quote!(#delivery.connection(#connection));
    }
    if let Some(time) = attributes.delay.as_ref().map(seconds) {
        delivery = quote!(#delivery.delay(#time));
    }
    if let Some(tries) = &attributes.tries {
        delivery = quote!(#delivery.tries(#tries));
    }
    if !attributes.backoff.is_empty() {
        let waits = attributes.backoff.iter().map(seconds);
        delivery = quote!(#delivery.backoff([#(#waits),*]));
    }
    if let Some(timeout) = attributes.timeout.as_ref().map(seconds) {
        delivery = quote!(#delivery.timeout(#timeout));
    }
    if let Some(time) = attributes.unique_for.as_ref().map(seconds) {
        delivery = quote!(#delivery.unique_for(#time));
    }
    if attributes.unique.is_some() {
        delivery = quote!(#delivery.unique_latest());
    }
    if let Some(text) = &attributes.unique_by {
        let by = Template::parse(input, text)?.expand();
        delivery = quote!(#delivery.unique_by(#by));
    }
    Ok(delivery)
}
