//! Origins of the pages that opened connections. There are few different ones, so a connection keeps an id.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Maximum number of different origins: clients can send any text.
const MAX_ORIGINS: usize = 1_000;

/// Maximum length of an origin, in bytes.
const MAX_BYTES: usize = 200;

/// The id of an origin; 0 if it is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct OriginId(u16);

/// The origins seen so far.
#[derive(Debug, Default)]
pub(crate) struct Origins(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    texts: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, OriginId>,
}

impl Origins {
    /// Returns the id of an origin.
    pub(crate) fn id(&self, text: &str) -> OriginId {
        if text.is_empty() || text.len() > MAX_BYTES {
            return OriginId::default();
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = known.ids.get(text) {
            return *id;
        }
        if known.texts.len() == MAX_ORIGINS {
            return OriginId::default();
        }
        let text = Arc::<str>::from(text);
        known.texts.push(text.clone());
        let id = OriginId(known.texts.len() as u16);
        known.ids.insert(text, id);
        id
    }

    /// Returns the ids of the origins that contain a text.
    pub(crate) fn containing(&self, part: &str) -> HashSet<OriginId> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.ids.iter().filter(|(text, _)| text.contains(part)).map(|(_, id)| *id).collect()
    }

    /// Returns the text of an origin.
    pub(crate) fn text(&self, id: OriginId) -> Option<Arc<str>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.texts.get(usize::from(id.0).checked_sub(1)?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_origins_is_limited() {
        let origins = Origins::default();
        let first = origins.id("https://a.example");
        for n in 0..2 * MAX_ORIGINS {
            origins.id(&format!("https://{n}.example"));
        }
        assert_eq!(origins.id("https://a.example"), first);
        assert_eq!(origins.text(first).as_deref(), Some("https://a.example"));
        assert_eq!(origins.id("https://new.example"), OriginId::default());
        assert_eq!(origins.text(OriginId::default()), None);
        assert_eq!(origins.0.lock().unwrap().texts.len(), MAX_ORIGINS);
    }
}
