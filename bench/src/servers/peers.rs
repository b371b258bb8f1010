//! The servers that are measured, as `peers.toml` describes them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::servers::tls::Handshakes;

/// The content of `peers.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peers {
    pub(crate) peer: Vec<Peer>,
}

impl Peers {
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", file.display()))
    }
}

/// A server to measure.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// Program and arguments, with `{port}` in place of the port to listen on.
    pub(crate) command: Vec<String>,
    /// Environment variables, in addition to the caller's.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Command that prints its version.
    #[serde(default)]
    pub(crate) version: Vec<String>,
    /// Whether it is the floor server, which does not support every load.
    #[serde(default)]
    pub(crate) floor: bool,
    /// Whether its channels `bench-history-*` keep their events.
    #[serde(default)]
    pub(crate) history: bool,
    /// Whether it has TLS, with the certificate `{cert}` and the key `{key}` of its environment.
    #[serde(default)]
    pub(crate) tls: Option<Handshakes>,
    /// Path of its metrics, requested with `bench-metrics-token` as bearer token.
    #[serde(default = "Peer::default_scrape")]
    pub(crate) scrape: String,
    #[serde(default = "Peer::default_app")]
    pub(crate) app_id: String,
    #[serde(default = "Peer::default_key")]
    pub(crate) key: String,
    #[serde(default = "Peer::default_secret")]
    pub(crate) secret: String,
}

impl Peer {
    /// A path that exists even without metrics.
    pub(crate) fn default_scrape() -> String {
        "/up".to_owned()
    }

    pub(crate) fn default_app() -> String {
        "bench".to_owned()
    }

    pub(crate) fn default_key() -> String {
        "bench-key".to_owned()
    }

    pub(crate) fn default_secret() -> String {
        "bench-secret".to_owned()
    }
}
