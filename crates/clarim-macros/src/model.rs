//! The derive of `BroadcastModel`.

use clarim_protocol::ChannelName;
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Data, DeriveInput, Error, LitStr, Member, Result};

use crate::attributes::{once, text};
use crate::expand::{MAX_NAME, serializable};
use crate::template::{names, unknown};

/// All values of the attribute `#[model(…)]`.
#[derive(Default)]
struct Attributes {
    name: Option<LitStr>,
    key: Option<LitStr>,
}

/// The derive: from the tokens of a type to the tokens of its implementation, or of a compile error.
pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    expand(&input).unwrap_or_else(|error| {
        let error = error.into_compile_error();
        // An implementation, so that the type's uses are not errors too.
        let substitute = implementation(&input, "", &quote!(""));
        quote!(#error #substitute)
    })
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let mut attributes = Attributes::default();
    for attribute in input.attrs.iter().filter(|it| it.path().is_ident("model")) {
        attribute.parse_nested_meta(|meta| {
            let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            match name.as_str() {
                "name" => once(&meta, &mut attributes.name, text(&meta)?),
                "key" => once(&meta, &mut attributes.key, text(&meta)?),
                _ => Err(meta.error("unknown attribute; expected one of name, key")),
            }
        })?;
    }
    let key = key(input, attributes.key.as_ref())?;
    let name = match &attributes.name {
        Some(name) => checked(name)?,
        None => format!("App.Models.{}", input.ident),
    };
    Ok(implementation(input, &name, &quote!(&self.#key)))
}

fn implementation(input: &DeriveInput, name: &str, key: &TokenStream) -> TokenStream {
    let ident = &input.ident;
    let generics = serializable(input);
    let (generics, arguments, conditions) = generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #generics ::clarim::BroadcastModel for #ident #arguments #conditions {
            const NAME: &'static str = #name;

            fn key(&self) -> impl ::std::fmt::Display {
                #key
            }
        }
    }
}

/// The field with the key.
fn key(input: &DeriveInput, name: Option<&LitStr>) -> Result<Member> {
    let wanted = name.map_or_else(|| "id".to_owned(), LitStr::value);
    let span = name.map_or_else(|| input.ident.span(), LitStr::span);
    let Data::Struct(data) = &input.data else {
        let problem = format!("{} is no struct; a model is a struct with a key", input.ident);
        return Err(Error::new(Span::call_site(), problem));
    };
    let known = names(&data.fields);
    if known.contains(&wanted) {
        return syn::parse_str(&wanted);
    }
    let unknown = unknown(input, &wanted, &known);
    Err(Error::new(span, format!("{unknown}; name the key's field: #[model(key = \"…\")]")))
}

fn checked(name: &LitStr) -> Result<String> {
    let text = name.value();
    match ChannelName::parse(&text, MAX_NAME) {
        Ok(_) => Ok(text),
        Err(error) => Err(Error::new(name.span(), format!("`{text}`: {error}"))),
    }
}
