//! Queues that outlive the process, in each of the stores.

#![allow(clippy::unwrap_used, reason = "helpers of tests, as tests, fail by panicking")]

mod commands;
mod crash;
mod jobs;
mod property;
mod stores;
mod support;

/// Runs each of these tests with each store.
macro_rules! with_each_store {
    ($($name:ident),* $(,)?) => {
        crate::with_each_store!(@ sqlite Sqlite: $($name)*);
        crate::with_each_store!(@ postgres Postgres: $($name)*);
        crate::with_each_store!(@ redis Redis: $($name)*);
    };
    (@ $module:ident $kind:ident: $($name:ident)*) => {
        mod $module {
            use crate::stores::{Kind, Store, TIMEOUT};

            $(
                #[tokio::test]
                async fn $name() {
                    let store = Store::new(Kind::$kind);
                    tokio::time::timeout(TIMEOUT * 2, super::$name(store)).await.expect("in time");
                }
            )*
        }
    };
}

use with_each_store;
