#![doc = include_str!("../README.md")]

mod attributes;
mod expand;
mod model;
mod template;

use proc_macro::TokenStream;

/// Implements `clarim::Broadcast`. The re-export in the crate `clarim` documents the attributes, since its
/// examples need that crate: what a macro crate depends on is compiled a second time.
#[proc_macro_derive(Broadcast, attributes(broadcast))]
pub fn derive_broadcast(input: TokenStream) -> TokenStream {
    expand::derive(input.into()).into()
}

/// Implements `clarim::BroadcastModel`. The re-export in the crate `clarim` documents the attributes.
#[proc_macro_derive(BroadcastModel, attributes(model))]
pub fn derive_broadcast_model(input: TokenStream) -> TokenStream {
    model::derive(input.into()).into()
}

#[cfg(test)]
mod tests;
