//! Settings given as command-line flags.

use std::path::PathBuf;

use crate::keys::{self, Key};
use crate::source::Source;
use crate::typed::Values;

/// Settings that were given as command-line flags. They override every other source.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// Address to listen on.
    pub host: Option<String>,
    /// Port to listen on.
    pub port: Option<String>,
    /// Prefix of every path.
    pub path: Option<String>,
    /// Host name under which clients reach the server.
    pub hostname: Option<String>,
    /// Whether every message is printed.
    pub debug: bool,
    /// Path to the TOML file.
    pub config: Option<PathBuf>,
    /// Name of the environment, whose `.env.NAME` is read in place of `.env` if it exists.
    pub env: Option<String>,
}

impl Flags {
    pub(super) fn add_to(&self, values: &mut Values) {
        let flags: [(&'static Key, &'static str, Option<&str>); 5] = [
            (&keys::SERVER_HOST, "--host", self.host.as_deref()),
            (&keys::SERVER_PORT, "--port", self.port.as_deref()),
            (&keys::SERVER_PATH, "--path", self.path.as_deref()),
            (&keys::HOST, "--hostname", self.hostname.as_deref()),
            (&keys::DEBUG, "--debug", self.debug.then_some("true")),
        ];
        for (key, flag, text) in flags {
            values.add(key, text.unwrap_or_default(), Source::Flag(flag));
        }
    }
}
