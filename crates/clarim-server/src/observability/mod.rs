//! Consumers for operators: metrics, traces and the debug output.

mod debug_output;
mod metrics;
#[cfg(feature = "otel")]
pub(crate) mod traces;

pub(crate) use debug_output::DebugOutput;
pub use debug_output::TARGET;
pub(crate) use metrics::{CONTENT_TYPE, Scrape, TraceNumbers, WebhookNumbers};
