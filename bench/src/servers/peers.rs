//! The servers that are measured, as `peers.toml` describes them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The file of servers.
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

/// A server as the file of peers describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// Program and arguments; `{port}` stands for the port to listen on.
    pub(crate) command: Vec<String>,
    /// Its environment, beside the caller's own.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Says its version.
    #[serde(default)]
    pub(crate) version: Vec<String>,
    /// That it only shows what the kernel costs, and cannot do everything.
    #[serde(default)]
    pub(crate) floor: bool,
    /// Where its metrics are. `bench-metrics-token` is sent along.
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
    /// There always, also where there are no metrics.
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
