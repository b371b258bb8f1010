//! The tests that every backend must pass, for the tests of your own backend.
//!
//! They panic where a backend breaks a guarantee of [`Backend`](crate::Backend). Run [`run`] against a fresh
//! broker, and [`run_with_outages`] if the test can stop and freeze it:
//!
//! ```
//! use clarim_bus::{Bus, MemoryBus, suite};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! suite::run(&Bus::new(MemoryBus::new()), suite::Reports::Receivers).await;
//! # }
//! ```

mod outages;
mod probe;
mod scenarios;

pub use outages::{Broker, run_with_outages};
pub use probe::{Outcome, Probe};
pub use scenarios::{Reports, run};
