//! Apps: their settings, allowed origins, and the registry of a node.

mod origins;
mod registry;
mod settings;

pub use origins::Origins;
pub use registry::{Apps, Refusal};
pub use settings::{App, ClientEvents, Hooks, Limits, RateLimit};
