//! How a server knows that it is the successor of another one, in the same process.

use std::io;

use clarim_config::HANDOVER;
use clarim_server::READABLE_SNAPSHOTS;
use serde::{Deserialize, Serialize};

/// The value of [`HANDOVER`] for a program that is only checked.
pub(crate) const CHECK: &str = "check";

/// The value of [`HANDOVER`] for a successor.
pub(crate) const GO_ON: &str = "go on";

/// The purpose of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// To serve.
    Fresh,
    /// To check that it could go on for a running server.
    Check,
    /// To go on for the server that has run in this process.
    Successor,
}

impl Start {
    pub(crate) fn of_process() -> io::Result<Self> {
        match std::env::var(HANDOVER).as_deref() {
            Err(_) => Ok(Self::Fresh),
            Ok(CHECK) => Ok(Self::Check),
            Ok(GO_ON) => Ok(Self::Successor),
            Ok(_) => {
                Err(io::Error::other(format!("{HANDOVER} is set by Clarim itself; remove it")))
            }
        }
    }
}

/// The output of a program that is checked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CheckReport {
    /// Its version.
    pub(crate) program: String,
    /// The first and the last version of the snapshots that it reads.
    pub(crate) snapshots: (u16, u16),
}

impl CheckReport {
    /// The report of this program.
    pub(crate) fn own() -> Self {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Self { program, snapshots: READABLE_SNAPSHOTS.into_inner() }
    }
}
