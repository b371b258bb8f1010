//! The tests that every backend must pass, for the tests of your own backend.
//!
//! They panic where a backend breaks a guarantee of [`Backend`](crate::Backend). Run [`run`] against a fresh
//! broker, and [`run_with_outages`] if the test can stop and freeze it. If the backend keeps logs, also
//! [`run_logs`] and [`run_logs_with_outages`].
//!
//! ```
//! use clarim_bus::{Bus, MemoryBus, suite};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! suite::run(&Bus::new(MemoryBus::new()), suite::Reports::Receivers).await;
//! # }
//! ```

mod log_outages;
mod logs;
mod outages;
mod probe;
mod scenarios;

pub use log_outages::{LogBroker, run_logs_with_outages};
pub use logs::{LogBounds, run_logs};
pub use outages::{Broker, run_with_outages};
pub use probe::{Appended, AppendedAt, Outcome, Probe};
pub use scenarios::{Reports, run};
