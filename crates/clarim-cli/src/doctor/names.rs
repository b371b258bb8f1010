//! Whether a page that listens to one name hears an event of another: Echo's namespace.

use super::Finding;

/// Echo's own, unless a page sets another.
const NAMESPACE: &str = "App\\Events\\";

/// The event's name that Echo's `.listen('…')` waits for.
fn heard_as(listens: &str) -> String {
    match listens.strip_prefix(['.', '\\']) {
        Some(rest) => rest.to_owned(),
        None => format!("{NAMESPACE}{}", listens.replace('.', "\\")),
    }
}

/// Compares an event's name with what a page listens to.
pub(super) fn compare(event: &str, listens: &str) -> Finding {
    let waited_for = heard_as(listens);
    if waited_for == event {
        return Finding::fine("names", format!(".listen('{listens}') hears {event}"));
    }
    let what = format!(".listen('{listens}') hears {waited_for}, and the event is called {event}");
    let right = match event.strip_prefix(NAMESPACE) {
        Some(name) => name.replace('\\', "."),
        None => format!(".{event}"),
    };
    let why = match event.starts_with(NAMESPACE) {
        true => "Echo puts App\\Events before names that begin with no dot",
        false => "a name of your own (broadcastAs, name = \"…\") needs a dot before it",
    };
    Finding::problem("names", what, format!("listen to '{right}': {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

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
            assert_eq!(finding.level == Level::Fine, right.is_empty(), "{event} {listens}");
            assert!(finding.cure.contains(right), "{}", finding.cure);
        }
    }
}
