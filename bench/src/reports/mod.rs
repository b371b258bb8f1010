//! What a load has cost, and how it is shown.

pub(crate) mod machine;
pub(crate) mod outcome;
pub(crate) mod plot;
pub(crate) mod report;
