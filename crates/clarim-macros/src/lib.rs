//! The derive of the crate [`clarim`](https://docs.rs/clarim), which documents and exports it.

mod attributes;
mod expand;
mod template;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `clarim::Broadcast`.
///
/// ```
/// use clarim::{Broadcast, Channel};
/// use serde::Serialize;
///
/// #[derive(Serialize, Broadcast)]
/// #[broadcast(private = "orders.{user_id}", name = "order.shipped", queue = "high")]
/// struct OrderShipped {
///     user_id: u64,
///     tracking: String,
/// }
///
/// let event = OrderShipped { user_id: 7, tracking: "BR123".to_owned() };
/// assert_eq!(event.broadcast_on(), [Channel::private("orders.7")]);
/// ```
///
/// At least one channel, each as often as wanted; `{field}` (or `{field.inner}`) stands for the field's
/// value, and a field that doesn't exist is a compile error:
///
/// | attribute | the event goes to |
/// |---|---|
/// | `channel = "news"` | a public channel |
/// | `private = "orders.{user_id}"` | a private channel |
/// | `presence = "rooms.{room}"` | a presence channel |
/// | `encrypted = "vaults.{id}"` | an encrypted private channel |
///
/// Names are written without their prefix, as the front end writes them.
///
/// | attribute | meaning | without it |
/// |---|---|---|
/// | `name = "order.shipped"` | name, heard by `.listen('.order.shipped')` | namespace and type name |
/// | `when = "is_due"` | method of `&self`, or path of a function of it, that says whether it is sent | always |
/// | `with = "payload"` | the same for the payload: anything that serializes | the type itself |
/// | `payload = "Parcel"` | the type that `with` returns: for [types for the front end][types] | not in those |
/// | `now` | not queued | queued |
/// | `queue = "high"` | name of the queue | the default queue |
/// | `connection = "redis"` | name of the queue's connection | the default connection |
/// | `tries = 3` | attempts, as long as failures are temporary | as often as the queue likes |
/// | `backoff = [1, 5, 10]` | seconds to wait before each further attempt; the last repeats | 1, 5, 10 |
/// | `timeout = 30` | seconds for an attempt | 60 |
/// | `unique_for = 60` | seconds in which a second one is dropped while the first one waits | never |
/// | `unique_by = "{order_id}"` | what makes it the same | its name and channels |
///
/// [types]: https://docs.rs/clarim/latest/clarim/types
#[proc_macro_derive(Broadcast, attributes(broadcast))]
pub fn derive_broadcast(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    attributes::Attributes::read(&input)
        .and_then(|attributes| expand::expand(&input, &attributes))
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
