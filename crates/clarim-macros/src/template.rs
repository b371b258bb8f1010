//! Texts with placeholders like `{field}`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Index, LitStr, Member, Result};

/// A text split at its placeholders.
pub(crate) struct Template {
    /// The format string.
    format: String,
    /// An expression for each placeholder.
    arguments: Vec<TokenStream>,
    /// The text with `0` for each placeholder, which is valid in every name.
    pub(crate) sample: String,
}

impl Template {
    pub(crate) fn parse(input: &DeriveInput, text: &LitStr) -> Result<Self> {
        let mut template =
            Self { format: String::new(), arguments: Vec::new(), sample: String::new() };
        let value = text.value();
        let mut rest = value.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let Some((field, behind)) = after.split_once('}') else {
                return Err(Error::new(text.span(), format!("`{value}`: a `{{` has no `}}`")));
            };
            template.literal(before, text)?;
            template.format.push_str("{}");
            template.sample.push('0');
            template.arguments.push(access(input, field.trim(), text)?);
            rest = behind;
        }
        template.literal(rest, text)?;
        Ok(template)
    }

    fn literal(&mut self, literal: &str, text: &LitStr) -> Result<()> {
        if literal.contains('}') {
            let message = format!("`{}`: a `}}` has no `{{`", text.value());
            return Err(Error::new(text.span(), message));
        }
        self.format.push_str(literal);
        self.sample.push_str(literal);
        Ok(())
    }

    /// An expression for the text.
    pub(crate) fn expand(&self) -> TokenStream {
        let Self { format, arguments, .. } = self;
        if arguments.is_empty() {
            quote!(::std::string::String::from(#format))
        } else {
            quote!(::std::format!(#format, #(#arguments),*))
        }
    }
}

/// `self.field`, or `self.field.inner`; the first must be a field of the type.
fn access(input: &DeriveInput, path: &str, text: &LitStr) -> Result<TokenStream> {
    let (first, inner) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
    let Data::Struct(data) = &input.data else {
        let message =
            format!("`{{{path}}}`: placeholders are fields of a struct, and this is not a struct");
        return Err(Error::new(text.span(), message));
    };
    let known = names(&data.fields);
    if !known.iter().any(|name| name == first) {
        return Err(Error::new(text.span(), unknown(input, first, &known)));
    }
    let mut access = quote!(self);
    for part in std::iter::once(first).chain(inner.into_iter().flat_map(|inner| inner.split('.'))) {
        let member = match part.parse::<u32>() {
            Ok(index) => Member::Unnamed(Index { index, span: text.span() }),
            Err(_) => Member::Named(
                syn::parse_str(part)
                    .map_err(|_| Error::new(text.span(), format!("`{part}` is not a field")))?,
            ),
        };
        access = quote!(#access.#member);
    }
    Ok(access)
}

/// The names of fields. Those of a tuple struct are numbers.
pub(crate) fn names(fields: &Fields) -> Vec<String> {
    let name = |(n, field): (usize, &syn::Field)| {
        field.ident.as_ref().map_or_else(|| n.to_string(), ToString::to_string)
    };
    fields.iter().enumerate().map(name).collect()
}

/// The problem that a type has no field of this name.
pub(crate) fn unknown(input: &DeriveInput, name: &str, known: &[String]) -> String {
    let has = match known {
        [] => "it has none".to_owned(),
        known => format!("it has {}", known.join(", ")),
    };
    format!("{} has no field `{name}`; {has}", input.ident)
}
