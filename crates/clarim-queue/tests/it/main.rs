//! The suite and a property test, on every storage.

#![allow(clippy::unwrap_used, reason = "helpers of tests, as tests, fail by panicking")]

mod blocked;
mod memory;
mod property;
mod stores;
mod worker;

mod sqlite {
    use crate::stores::{Kind, Store};

    clarim_queue::storage_suite!(Store::new(Kind::Sqlite));
}

mod postgres {
    use crate::stores::{Kind, Store};

    clarim_queue::storage_suite!(in one test: Store::new(Kind::Postgres));
}

mod redis {
    use crate::stores::{Kind, Store};

    clarim_queue::storage_suite!(Store::new(Kind::Redis));
}
