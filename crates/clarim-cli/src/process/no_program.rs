//! Stands in for the replacement of the program on systems where connections can't be handed over.

#![allow(
    clippy::unused_self,
    reason = "the signatures are those of the module that this one replaces"
)]

use std::convert::Infallible;
use std::io;
use std::os::fd::BorrowedFd;

/// The program of this process.
#[derive(Debug, Clone)]
pub(crate) struct Program;

impl Program {
    pub(crate) fn of_process() -> Self {
        Self
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        Err("this system cannot hand over connections, only Linux can".to_owned())
    }

    pub(crate) fn replace(&self, _: BorrowedFd<'_>) -> io::Result<Infallible> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Takes signals again after the program was replaced.
pub(crate) fn unblock_signals() {}
