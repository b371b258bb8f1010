//! The test suite that every [`Storage`] must pass; with the feature `testing`.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # mod tests {
//! use std::sync::Arc;
//!
//! use clarim_queue::testing::TestStore;
//! use clarim_queue::{SqlStorage, Storage};
//!
//! struct SqliteStore(tempfile::TempDir);
//!
//! impl TestStore for SqliteStore {
//!     fn connect(&self) -> Arc<dyn Storage> {
//!         let file = self.0.path().join("queue.sqlite");
//!         Arc::new(SqlStorage::sqlite(format!("sqlite:{}", file.display())))
//!     }
//! }
//!
//! // One `#[tokio::test]` for each case
//! clarim_queue::storage_suite!(SqliteStore(tempfile::tempdir().unwrap()));
//! # }
//! ```

pub mod cases;
mod fixture;
mod operations;

use std::sync::Arc;

use crate::storage::Storage;

pub use fixture::{Fixture, SHORT, TIMEOUT, TestJob, TestReader};

/// An empty store of its own for each test.
pub trait TestStore: Send + Sync {
    /// Connects to the store. Connections share their jobs, as those of several processes do.
    fn connect(&self) -> Arc<dyn Storage>;
}

/// Makes a test of each case of the suite. The argument is an expression that creates an empty [`TestStore`].
///
/// With `in one test:` before the expression, all cases run in one test, for storages whose server is slow to
/// start.
#[macro_export]
macro_rules! storage_suite {
    (in one test: $store:expr) => {
        $crate::storage_suite! { @cases one $store }
    };
    (@cases $mode:ident $store:expr) => {
        $crate::storage_suite! { @$mode $store =>
            queues_run_by_priority
            failed_attempts_are_retried_after_their_delays
            jobs_with_one_key_run_in_order_over_retries
            jobs_with_other_keys_go_on_while_one_waits_for_its_retry
            a_job_with_two_keys_keeps_its_place_in_both
            the_last_failed_attempt_moves_a_job_to_the_failed_jobs
            a_permanent_error_fails_at_once
            an_unreadable_payload_fails_and_the_worker_goes_on
            a_panic_is_a_failed_attempt
            a_job_that_always_panics_fails_after_three_attempts
            a_job_that_kills_its_workers_fails_after_its_last_attempt
            finished_parts_of_a_job_are_not_repeated
            a_unique_job_is_dropped_while_an_identical_one_waits
            uniqueness_ends_after_its_time
            the_latest_of_identical_jobs_takes_the_place_of_the_first
            a_running_job_is_not_replaced
            a_job_that_waits_for_its_retry_is_replaced
            a_delayed_job_comes_after_the_failed_one_of_its_key
            a_delayed_job_runs_later
            a_delayed_job_blocks_no_other
            a_stopping_worker_finishes_running_jobs_only
            a_job_of_a_dropped_worker_runs_again_after_its_lease
            a_renewed_lease_keeps_the_job
            a_worker_stops_at_its_limit_or_when_the_queue_is_empty
            a_lock_has_one_owner_until_it_expires_or_is_released
            sizes_count_jobs_by_state
            failed_jobs_are_deleted_one_by_one_or_all
            clearing_deletes_the_waiting_jobs_of_one_queue
            a_restart_ends_the_workers_that_were_running
        }
    };
    (@each $store:expr => $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let store = $store;
                let limit = $crate::testing::TIMEOUT * 2;
                let case = $crate::testing::cases::$case(&store);
                tokio::time::timeout(limit, case).await.expect("the test ends in time");
            }
        )*
    };
    (@one $store:expr => $($case:ident)*) => {
        #[tokio::test]
        async fn all_cases() {
            $(
                println!("{}", stringify!($case));
                let store = $store;
                let limit = $crate::testing::TIMEOUT * 2;
                let case = $crate::testing::cases::$case(&store);
                tokio::time::timeout(limit, case).await.expect("the test ends in time");
            )*
        }
    };
    ($store:expr) => {
        $crate::storage_suite! { @cases each $store }
    };
}
