//! Compares names of events with the names that a page listens to, which Echo completes with a namespace.

use super::finding::Finding;

/// Echo's default namespace.
const NAMESPACE: &str = "App\\Events\\";

/// The name of the event that Echo's `.listen('…')` receives.
fn received_by(listens: &str) -> String {
    match listens.strip_prefix(['.', '\\']) {
        Some(rest) => rest.to_owned(),
        None => format!("{NAMESPACE}{}", listens.replace('.', "\\")),
    }
}

/// What a page must listen to, if Echo's `.listen('…')` with the name of the event does not receive it.
pub(crate) fn echo_note(event: &str) -> Option<String> {
    let others = [NAMESPACE, "Illuminate\\", "client-", "pusher:"];
    if others.iter().any(|prefix| event.starts_with(prefix)) {
        return None;
    }
    Some(match event.strip_prefix('.') {
        Some(name) => format!(
            "Echo's .listen('{event}') receives {name}, without the dot: send it under this name."
        ),
        None => format!(
            "Echo's .listen('{event}') receives {}: listen to '.{event}', or send the event under that name.",
            received_by(event)
        ),
    })
}

/// Checks that a page that listens to `listens` receives `event`.
pub(super) fn compare(event: &str, listens: &str) -> Finding {
    let expected = received_by(listens);
    if expected == event {
        return Finding::ok("names", format!(".listen('{listens}') receives {event}"));
    }
    let what = format!(".listen('{listens}') receives {expected}, but the event is named {event}");
    let right = match event.strip_prefix(NAMESPACE) {
        Some(name) => name.replace('\\', "."),
        None => format!(".{event}"),
    };
    let why = match event.starts_with(NAMESPACE) {
        true => "Echo prepends App\\Events to names without a leading dot",
        false => "a custom name (broadcastAs, name = \"…\") needs a leading dot",
    };
    Finding::problem("names", what, format!("listen to '{right}': {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn names_that_echo_completes_are_explained() {
        for event in ["App\\Events\\Sold", "client-typing", "pusher:ping"] {
            assert_eq!(echo_note(event), None);
        }
        let note = echo_note("order.shipped").unwrap();
        assert!(
            note.contains(r"receives App\Events\order\shipped: listen to '.order.shipped'"),
            "{note}"
        );
        let note = echo_note(".sold").unwrap();
        assert!(note.contains("receives sold, without the dot"), "{note}");
    }

    #[test]
    fn the_namespace_is_explained() {
        for (event, listens, right) in [
            ("App\\Events\\OrderShipped", "OrderShipped", ""),
            ("order.shipped", ".order.shipped", ""),
            ("App\\Events\\Shop\\Sold", "Shop.Sold", ""),
            ("order.shipped", "order.shipped", "'.order.shipped'"),
            ("OrderShipped", "OrderShipped", "'.OrderShipped'"),
            ("App\\Events\\OrderShipped", ".OrderShipped", "'OrderShipped'"),
        ] {
            let finding = compare(event, listens);
            assert_eq!(finding.level == Level::Ok, right.is_empty(), "{event} {listens}");
            assert!(finding.remedy.contains(right), "{}", finding.remedy);
        }
    }
}
