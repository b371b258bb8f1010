//! The consumers of what happens on a server: event streams, the inspector, metrics, traces, webhooks.

mod events;
mod inspector;
pub(crate) mod metrics;
mod metrics_load;
mod metrics_webhooks;
mod traces;
