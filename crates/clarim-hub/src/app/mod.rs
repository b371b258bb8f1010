//! Apps: their settings, allowed origins, and the registry of a node.

mod history;
mod origins;
mod registry;
mod settings;

pub use history::HistoryRule;
pub use origins::Origins;
pub use registry::{Apps, Refusal};
pub use settings::{App, ClientEvents, Hooks, Limits, RateLimit};
