//! The implementation that is written.

use clarim_protocol::{ChannelKind, ChannelName};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{DeriveInput, Error, LitStr, Path, Result, parse_quote};

use crate::attributes::Attributes;
use crate::template::Template;

/// The longest name that Pusher's own SDKs send.
const MAX_NAME: usize = 200;

pub(crate) fn expand(input: &DeriveInput, attributes: &Attributes) -> Result<TokenStream> {
    let channels = attributes
        .channels
        .iter()
        .map(|(kind, text)| channel(input, *kind, text))
        .collect::<Result<Vec<_>>>()?;
    let name = match &attributes.name {
        Some(name) => quote!(::clarim::EventName::from(#name)),
        None => {
            let name = input.ident.to_string();
            quote!(::clarim::EventName::below_namespace(#name))
        }
    };
    let with = attributes.with.as_ref().map(|path| {
        let payload = call(path);
        // That it is what it is said to be, the compiler checks.
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
    let mut generics = input.generics.clone();
    // A bound on a type without parameters would be reported at the derive, and not say what to do.
    if !generics.params.is_empty() {
        let bound = parse_quote!(Self: ::clarim::serde::Serialize);
        generics.make_where_clause().predicates.push(bound);
    }
    let (generics, arguments, conditions) = generics.split_for_impl();
    let payload = match (&attributes.with, &attributes.payload) {
        (None, _) => Some(quote!(Self)),
        (Some(_), payload) => payload.as_ref().map(|ty| quote!(#ty)),
    };
    let event_type = payload.map(|payload| {
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
            fn broadcast_on(&self) -> ::std::vec::Vec<::clarim::Channel> {
                ::std::vec![#(#channels),*]
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

/// A method of the event, or a function of it somewhere else.
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
            "write the name without `{prefix}`; the attribute says what kind of channel it is"
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
    if let Some(text) = &attributes.unique_by {
        let by = Template::parse(input, text)?.expand();
        delivery = quote!(#delivery.unique_by(#by));
    }
    Ok(delivery)
}
