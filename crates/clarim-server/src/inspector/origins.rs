//! The pages that connections were opened by. Few are different, so each connection keeps a number alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Different ones that are kept; anybody can send any.
const MOST: usize = 1_000;

/// Longest that is kept.
const LONGEST: usize = 200;

/// The number of an origin; 0: none that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OriginId(u16);

#[derive(Debug, Default)]
pub(crate) struct Origins(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    texts: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, OriginId>,
}

impl Origins {
    /// The number of an origin.
    pub(crate) fn id(&self, text: &str) -> OriginId {
        if text.is_empty() || text.len() > LONGEST {
            return OriginId::default();
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = known.ids.get(text) {
            return *id;
        }
        if known.texts.len() == MOST {
            return OriginId::default();
        }
        let text = Arc::<str>::from(text);
        known.texts.push(text.clone());
        let id = OriginId(known.texts.len() as u16);
        known.ids.insert(text, id);
        id
    }

    pub(super) fn text(&self, id: OriginId) -> Option<Arc<str>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.texts.get(usize::from(id.0).checked_sub(1)?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_kept_and_no_more() {
        let origins = Origins::default();
        let first = origins.id("https://a.example");
        for n in 0..2 * MOST {
            origins.id(&format!("https://{n}.example"));
        }
        assert_eq!(origins.id("https://a.example"), first);
        assert_eq!(origins.text(first).as_deref(), Some("https://a.example"));
        assert_eq!(origins.id("https://new.example"), OriginId::default());
        assert_eq!(origins.text(OriginId::default()), None);
        assert_eq!(origins.0.lock().unwrap().texts.len(), MOST);
    }
}
