//! Names of events.

use std::borrow::Cow;

/// The name of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventName {
    text: Cow<'static, str>,
    in_namespace: bool,
}

impl EventName {
    /// A name in the application's namespace, by default `App\Events`: `OrderShipped` is sent as
    /// `App\Events\OrderShipped`. Echo adds the same namespace, so `.listen('OrderShipped', …)` receives it.
    pub fn in_namespace(name: impl Into<Cow<'static, str>>) -> Self {
        Self { text: name.into(), in_namespace: true }
    }

    /// The name as Echo's `listen` takes it: a name outside the namespace has a dot before it.
    ///
    /// ```
    /// # use clarim::EventName;
    /// assert_eq!(EventName::in_namespace("OrderShipped").for_echo(), "OrderShipped");
    /// assert_eq!(EventName::from("order.shipped").for_echo(), ".order.shipped");
    /// ```
    #[must_use]
    pub fn for_echo(&self) -> String {
        let dot = if self.in_namespace { "" } else { "." };
        format!("{dot}{}", self.text)
    }

    /// The name on the wire.
    #[must_use]
    pub fn full(&self, namespace: &str) -> String {
        if self.in_namespace && !namespace.is_empty() {
            format!("{namespace}\\{}", self.text)
        } else {
            self.text.clone().into_owned()
        }
    }
}

/// A name that is sent unchanged; Echo listens to it with a dot before it: `.listen('.order.shipped', …)`.
impl From<&'static str> for EventName {
    fn from(name: &'static str) -> Self {
        Self { text: name.into(), in_namespace: false }
    }
}

/// A name that is sent unchanged; Echo listens to it with a dot before it.
impl From<String> for EventName {
    fn from(name: String) -> Self {
        Self { text: name.into(), in_namespace: false }
    }
}

/// The last part of a type's path, without generics: the default name of events and tasks.
pub(crate) fn type_name<T: ?Sized>() -> &'static str {
    let path = std::any::type_name::<T>();
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_namespace_are_prefixed_and_others_are_not() {
        struct Shipped<T>(T);
        assert_eq!(type_name::<Shipped<Vec<String>>>(), "Shipped");
        assert_eq!(EventName::in_namespace("A").full("App\\Events"), "App\\Events\\A");
        assert_eq!(EventName::in_namespace("A").full(""), "A");
        assert_eq!(EventName::from("order.shipped").full("App\\Events"), "order.shipped");
    }
}
