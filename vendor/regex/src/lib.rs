//! regex-lite under the name of regex, for dependencies that need little of it.

pub use regex_lite::*;
