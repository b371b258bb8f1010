//! The apps of a node, and how many connections each has.

use std::sync::atomic::{AtomicU32, Ordering};

use clarim_protocol::Code;
use hashbrown::HashMap;

use crate::app::App;

/// An app's place in the registry; what channels and connections know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppIndex(u32);

/// Why a connection is not let in: an error frame and a close code for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code of both.
    pub code: Code,
    /// The message of both.
    pub message: String,
}

/// All apps of a node.
#[derive(Debug)]
pub struct Apps {
    apps: Vec<(App, AtomicU32)>,
    by_id: HashMap<String, AppIndex, foldhash::fast::RandomState>,
    by_key: HashMap<String, AppIndex, foldhash::fast::RandomState>,
}

impl Apps {
    /// A registry of `apps`. Of two with the same id or key, the later is found.
    pub fn new(apps: impl IntoIterator<Item = App>) -> Self {
        let mut registry =
            Self { apps: Vec::new(), by_id: HashMap::default(), by_key: HashMap::default() };
        for (index, app) in (0..).map(AppIndex).zip(apps) {
            registry.by_id.insert(app.id.clone(), index);
            registry.by_key.insert(app.key.key().to_owned(), index);
            registry.apps.push((app, AtomicU32::new(0)));
        }
        registry
    }

    /// The app whose id is in an HTTP path.
    #[must_use]
    pub fn find_by_id(&self, id: &str) -> Option<AppIndex> {
        self.by_id.get(id).copied()
    }

    /// The app whose key a client connects with.
    #[must_use]
    pub fn find_by_key(&self, key: &str) -> Option<AppIndex> {
        self.by_key.get(key).copied()
    }

    /// The app itself.
    ///
    /// # Panics
    /// If `index` is of another registry.
    #[must_use]
    pub fn get(&self, index: AppIndex) -> &App {
        &self.apps[index.0 as usize].0
    }

    /// All apps, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &App> {
        self.apps.iter().map(|(app, _)| app)
    }

    /// All apps with their open connections.
    pub fn counts(&self) -> impl Iterator<Item = (&App, u32)> {
        self.apps.iter().map(|(app, count)| (app, count.load(Ordering::Relaxed)))
    }

    /// Open connections of an app.
    #[must_use]
    pub fn connections(&self, index: AppIndex) -> u32 {
        self.count(index).load(Ordering::Relaxed)
    }

    /// Open connections of all apps.
    #[must_use]
    pub fn total_connections(&self) -> u64 {
        self.apps.iter().map(|(_, count)| u64::from(count.load(Ordering::Relaxed))).sum()
    }

    /// Counts a new connection of an app, which [`Worker::open`](crate::Worker::open) is to let in.
    ///
    /// # Errors
    /// When the app has as many connections as it may have.
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

    /// Undoes one [`admit`](Self::admit), of a connection that was not opened after all.
    pub fn release(&self, index: AppIndex) {
        self.count(index).fetch_sub(1, Ordering::Relaxed);
    }

    fn count(&self, index: AppIndex) -> &AtomicU32 {
        &self.apps[index.0 as usize].1
    }
}
