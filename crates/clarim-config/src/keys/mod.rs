//! The table of all settings. Parsing, `clarim config check` and the reference are derived from it.

mod reference;
mod suggestion;
mod table;

pub use reference::{help, reference};
pub(crate) use suggestion::{nearest, replaced, replacement, typo_of, unknown};
pub use table::*;
