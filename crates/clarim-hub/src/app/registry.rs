//! The registry of a node's apps, and their numbers of connections.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use clarim_protocol::Code;
use hashbrown::HashMap;

use super::settings::App;
use crate::address::AppIndex;

/// The reason why a connection is not admitted, as an error frame and a close code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code of both.
    pub code: Code,
    /// The message of both.
    pub message: String,
}

/// The registry of a node's apps. They may change while the node runs.
#[derive(Debug)]
pub struct Apps {
    /// Every app since the start, each at its own index for good: an index stays valid when apps change.
    places: boxcar::Vec<Place>,
    found: RwLock<Found>,
    /// Number of changes of the apps, so far.
    changes: AtomicU64,
    /// Held during a change of the apps.
    changing: Mutex<()>,
}

/// An app's entry.
#[derive(Debug)]
struct Place {
    /// All settings that the app has had. Old ones stay, since readers hold plain references to them; a
    /// change costs a few hundred bytes.
    versions: boxcar::Vec<App>,
    current: AtomicUsize,
    connections: AtomicU32,
    is_removed: AtomicBool,
}

type Names = HashMap<String, AppIndex, foldhash::fast::RandomState>;

#[derive(Debug, Default, PartialEq)]
struct Found {
    by_id: Names,
    by_key: Names,
}

impl Place {
    fn new(app: App) -> Self {
        let versions = boxcar::Vec::new();
        versions.push(app);
        let current = AtomicUsize::new(0);
        let connections = AtomicU32::new(0);
        Self { versions, current, connections, is_removed: AtomicBool::new(false) }
    }

    fn app(&self) -> &App {
        &self.versions[self.current.load(Ordering::Acquire)]
    }

    fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Relaxed)
    }
}

impl Apps {
    /// Makes a registry of `apps`. Of two apps with the same id or key, the later one counts.
    pub fn new(apps: impl IntoIterator<Item = App>) -> Self {
        let registry = Self {
            places: boxcar::Vec::new(),
            found: RwLock::default(),
            changes: AtomicU64::new(0),
            changing: Mutex::default(),
        };
        registry.set(apps);
        registry
    }

    /// Returns the number of changes of the apps. As long as it is the same, so are all settings.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Replaces the apps. An app with a known id keeps its connections, whatever else has changed.
    /// Connections of removed apps are closed with 4003 in [`Worker::sweep`](crate::Worker::sweep).
    pub fn set(&self, apps: impl IntoIterator<Item = App>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let known: Names =
            self.places.iter().map(|(n, place)| (place.app().id.clone(), at(n))).collect();
        let mut found = Found::default();
        let mut is_changed = false;
        for app in apps {
            let id = app.id.clone();
            let key = app.key.key().to_owned();
            let index = match known.get(&id).or_else(|| found.by_id.get(&id)) {
                Some(&index) => {
                    let place = self.place(index);
                    if *place.app() != app {
                        place.current.store(place.versions.push(app), Ordering::Release);
                        is_changed = true;
                    }
                    index
                }
                None => at(self.places.push(Place::new(app))),
            };
            found.by_id.insert(id, index);
            found.by_key.insert(key, index);
        }
        for (n, place) in &self.places {
            let is_removed = found.by_id.get(&place.app().id) != Some(&at(n));
            place.is_removed.store(is_removed, Ordering::Relaxed);
        }
        let mut current = self.found.write().unwrap_or_else(PoisonError::into_inner);
        is_changed |= *current != found;
        *current = found;
        drop(current);
        if is_changed {
            self.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// Finds an app by the id in an HTTP path.
    #[must_use]
    pub fn find_by_id(&self, id: &str) -> Option<AppIndex> {
        self.found.read().unwrap_or_else(PoisonError::into_inner).by_id.get(id).copied()
    }

    /// Finds an app by the key with which a client connects.
    #[must_use]
    pub fn find_by_key(&self, key: &str) -> Option<AppIndex> {
        self.found.read().unwrap_or_else(PoisonError::into_inner).by_key.get(key).copied()
    }

    /// Returns the app with its current settings; a removed app with its last settings.
    ///
    /// # Panics
    /// If `index` comes from another registry.
    #[must_use]
    pub fn get(&self, index: AppIndex) -> &App {
        self.place(index).app()
    }

    /// Whether the app has been removed.
    pub(crate) fn is_removed(&self, index: AppIndex) -> bool {
        self.place(index).is_removed()
    }

    /// Returns all apps in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &App> {
        self.current_apps().map(Place::app)
    }

    /// Returns all apps with their numbers of open connections.
    pub fn counts(&self) -> impl Iterator<Item = (&App, u32)> {
        self.current_apps().map(|place| (place.app(), place.connections.load(Ordering::Relaxed)))
    }

    fn current_apps(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().map(|(_, place)| place).filter(|place| !place.is_removed())
    }

    /// Returns the number of an app's open connections.
    #[must_use]
    pub fn connections(&self, index: AppIndex) -> u32 {
        self.count(index).load(Ordering::Relaxed)
    }

    /// Returns the number of all apps' open connections.
    #[must_use]
    pub fn total_connections(&self) -> u64 {
        let count = |place: &Place| u64::from(place.connections.load(Ordering::Relaxed));
        self.places.iter().map(|(_, place)| count(place)).sum()
    }

    /// Counts a new connection of an app, before [`Worker::open`](crate::Worker::open).
    ///
    /// # Errors
    /// If the app has its maximum number of connections.
    pub fn admit(&self, index: AppIndex) -> Result<(), Refusal> {
        let limit = self.get(index).limits.connections.unwrap_or(u32::MAX);
        self.count(index)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < limit).then_some(n + 1))
            .map(|_| ())
            .map_err(|_| Refusal {
                code: Code::OVER_CONNECTION_QUOTA,
                message: "Application is over connection quota".to_owned(),
            })
    }

    /// Counts a restored connection of an app, which was admitted when it was opened.
    pub(crate) fn readmit(&self, index: AppIndex) {
        self.count(index).fetch_add(1, Ordering::Relaxed);
    }

    /// Undoes one [`admit`](Self::admit) of a connection that was not opened.
    pub fn release(&self, index: AppIndex) {
        self.count(index).fetch_sub(1, Ordering::Relaxed);
    }

    fn count(&self, index: AppIndex) -> &AtomicU32 {
        &self.place(index).connections
    }

    fn place(&self, index: AppIndex) -> &Place {
        &self.places[index.0 as usize]
    }
}

fn at(place: usize) -> AppIndex {
    // More apps than u32::MAX would not fit into memory.
    AppIndex(place as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(id: &str, key: &str) -> App {
        App::new(id, key, "secret")
    }

    #[test]
    fn apps_are_added_changed_and_removed() {
        let apps = Apps::new([app("1", "one"), app("2", "two")]);
        let [one, two] = ["1", "2"].map(|id| apps.find_by_id(id).unwrap());
        apps.admit(one).unwrap();
        apps.set([app("1", "other"), app("3", "three")]);
        assert_eq!((apps.find_by_key("one"), apps.find_by_key("other")), (None, Some(one)));
        assert_eq!((apps.get(one).key.key(), apps.connections(one)), ("other", 1));
        assert!(apps.is_removed(two) && apps.find_by_id("2").is_none());
        assert_eq!(apps.iter().map(|app| app.id.as_str()).collect::<Vec<_>>(), ["1", "3"]);
        // An app that is added again gets its old index.
        apps.set([app("2", "two")]);
        assert_eq!(apps.find_by_id("2"), Some(two));
        assert!(!apps.is_removed(two) && apps.is_removed(one));
    }

    #[test]
    fn setting_the_same_apps_again_takes_no_memory() {
        let apps = Apps::new([app("1", "one")]);
        for _ in 0..10 {
            apps.set([app("1", "one")]);
        }
        assert_eq!((apps.places.count(), apps.places[0].versions.count()), (1, 1));
        assert_eq!(apps.changes(), 1);
        // Another secret for the same key is a change.
        apps.set([App::new("1", "one", "another secret")]);
        assert_eq!((apps.places[0].versions.count(), apps.changes()), (2, 2));
        // So are its removal and its return.
        apps.set([]);
        apps.set([App::new("1", "one", "another secret")]);
        assert_eq!((apps.places[0].versions.count(), apps.changes()), (2, 4));
    }
}
