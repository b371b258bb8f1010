//! Compile errors of the derive: their messages, and the code that they point at.

use proc_macro2::TokenStream;
use syn::{DeriveInput, Error};

use crate::attributes::Attributes;
use crate::expand;

/// The expansion as text, or the error with the source code at its span.
fn derive(code: &str) -> Result<String, (String, String)> {
    let spanned = |error: Error| {
        (error.to_string(), error.span().source_text().expect("the code was parsed from text"))
    };
    let input: DeriveInput = syn::parse_str(code).map_err(spanned)?;
    let attributes = Attributes::read(&input).map_err(spanned)?;
    expand::expand(&input, &attributes).map(|tokens| tokens.to_string()).map_err(spanned)
}

#[track_caller]
fn assert_error(code: &str, message: &str, source: &str) {
    let expected = (message.to_owned(), source.to_owned());
    assert_eq!(derive(code), Err(expected), "{code}");
}

#[test]
fn an_event_without_a_channel() {
    assert_error(
        "struct OrderShipped { order: u64 }",
        "OrderShipped has no channel; add for example #[broadcast(private = \"orders.{user_id}\")]",
        "OrderShipped",
    );
}

#[test]
fn an_unknown_field() {
    assert_error(
        r#"#[broadcast(private = "orders.{oder}")] struct OrderShipped { order: u64, user: u64 }"#,
        "OrderShipped has no field `oder`; it has order, user",
        r#""orders.{oder}""#,
    );
    assert_error(
        r#"#[broadcast(private = "orders.{order}")] struct Unit;"#,
        "Unit has no field `order`; it has none",
        r#""orders.{order}""#,
    );
}

#[test]
fn invalid_channel_names() {
    assert_error(
        r#"#[broadcast(channel = "orders:{order}")] struct Colon { order: u64 }"#,
        "`orders:{order}`: a channel name consists of letters, digits and _ - = @ , . ;",
        r#""orders:{order}""#,
    );
    assert_error(
        r#"#[broadcast(private = "private-orders")] struct Prefix;"#,
        "`private-orders`: write the name without `private-`; the attribute sets the kind of channel",
        r#""private-orders""#,
    );
    assert_error(
        r#"#[broadcast(private = "orders.{order")] struct Brace { order: u64 }"#,
        "`orders.{order`: a `{` has no `}`",
        r#""orders.{order""#,
    );
    assert_error(
        r#"#[broadcast(private = "orders.order}")] struct Brace { order: u64 }"#,
        "`orders.order}`: a `}` has no `{`",
        r#""orders.order}""#,
    );
    assert_error(
        r#"#[broadcast(private = "orders.{order}")] enum Fields { Shipped { order: u64 } }"#,
        "`{order}`: placeholders are fields of a struct, and this is not a struct",
        r#""orders.{order}""#,
    );
}

#[test]
fn contradicting_attributes() {
    assert_error(
        r#"#[broadcast(channel = "orders", now, queue = "high")] struct Queue;"#,
        "`now` bypasses the queue; remove this or `now`",
        r#""high""#,
    );
    assert_error(
        r#"#[broadcast(channel = "orders", now, delay = 5)] struct Delay;"#,
        "`now` bypasses the queue; remove this or `now`",
        "5",
    );
    assert_error(
        r#"#[broadcast(channel = "orders", name = "a", name = "b")] struct Twice;"#,
        "is set twice",
        r#"name = "b""#,
    );
    assert_error(
        r#"#[broadcast(channel = "orders", unique_by = "a")] struct Unique;"#,
        "`unique_by` needs `unique_for`, the time in seconds, or `unique = latest`",
        r#""a""#,
    );
    assert_error(
        r#"#[broadcast(channel = "orders", unique_for = 60, unique = latest)] struct Both;"#,
        "`unique_for` keeps the first event, `unique = latest` the last one; remove one of them",
        "60",
    );
    assert_error(
        r#"#[broadcast(channel = "orders", unique = first)] struct First;"#,
        "expected `unique = latest`; `unique_for = 60` keeps the first event instead",
        "first",
    );
    assert_error(
        r#"#[broadcast(channel = "orders", unique = "latest")] struct Quoted;"#,
        "expected `unique = latest`; `unique_for = 60` keeps the first event instead",
        r#""latest""#,
    );
    assert_error(
        r#"#[broadcast(channel = "orders", now, unique = latest)] struct Now;"#,
        "`now` bypasses the queue; remove this or `now`",
        "latest",
    );
    assert_error(
        r#"#[broadcast(channel = "orders", backoff = ["1"])] struct Backoff;"#,
        "expected seconds: 5 or [1, 5, 10]",
        r#""1""#,
    );
    assert_error(
        r#"#[broadcast(channel = "orders", payload = "String")] struct WithoutWith;"#,
        "`payload` is the type that `with` returns; without `with` the event is the payload",
        r#""String""#,
    );
}

#[test]
fn an_unknown_attribute() {
    let known = "channel, private, presence, encrypted, name, when, with, payload, now, queue, \
                 connection, delay, tries, backoff, timeout, unique, unique_for, unique_by";
    assert_error(
        r#"#[broadcast(channel = "orders", nam = "order.shipped")] struct OrderShipped;"#,
        &format!("unknown attribute; expected one of {known}"),
        "nam",
    );
}

/// That the compiler refuses wrong types is tested by the documentation of `clarim::EventType`.
#[test]
fn the_payloads_type_is_checked_and_known_if_it_is_declared() {
    let declared = r#"#[broadcast(channel = "orders", with = "payload", payload = "String")]
        struct OrderShipped { order: u64 }"#;
    let code = derive(declared).unwrap();
    assert!(code.contains("let payload : String = self . payload () ;"), "{code}");
    assert!(code.contains("type Payload = String ;"), "{code}");
    let undeclared = declared.replace(r#", payload = "String""#, "");
    let code = derive(&undeclared).unwrap();
    assert!(code.contains("let payload : _ = self . payload () ;"), "{code}");
    assert!(!code.contains("EventType"), "{code}");
}

#[test]
fn an_error_becomes_one_compile_error() {
    let input: TokenStream = "struct OrderShipped;".parse().unwrap();
    let code = expand::derive(input).to_string();
    assert_eq!(code.matches("compile_error !").count(), 1, "{code}");
    assert!(code.contains("OrderShipped has no channel"), "{code}");
    // Without these, each use of the type would be an error too.
    assert!(code.contains("impl :: clarim :: Broadcast for OrderShipped"), "{code}");
    assert!(code.contains("impl :: clarim :: EventType for OrderShipped"), "{code}");
}

#[test]
fn models_without_a_key() {
    for (code, message, source) in [
        (
            "struct Post { number: u64 }",
            "Post has no field `id`; it has number; name the key's field: #[model(key = \"…\")]",
            "Post",
        ),
        (
            r#"#[model(key = "uid")] struct Post { id: u64, uuid: u64 }"#,
            "Post has no field `uid`; it has id, uuid; name the key's field: #[model(key = \"…\")]",
            r#""uid""#,
        ),
        (
            r#"#[model(name = "App Post")] struct Post { id: u64 }"#,
            "`App Post`: a channel name consists of letters, digits and _ - = @ , . ;",
            r#""App Post""#,
        ),
        (
            "#[model(table)] struct Post { id: u64 }",
            "unknown attribute; expected one of name, key",
            "table",
        ),
    ] {
        let error = crate::model::expand(&syn::parse_str(code).unwrap()).unwrap_err();
        let shown = error.span().source_text().unwrap();
        assert_eq!((error.to_string(), shown), (message.to_owned(), source.to_owned()), "{code}");
    }
}
