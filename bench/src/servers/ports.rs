//! Ports for the servers under test.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

/// Each run has a port of its own, because the last one's connections may linger.
const FIRST_PORT: u16 = 19_000;
const LAST_PORT: u16 = 19_999;

/// Ports for servers, in an endless cycle.
pub(crate) fn ports() -> impl Iterator<Item = u16> {
    (FIRST_PORT..=LAST_PORT).cycle()
}

/// The next free port.
pub(crate) fn free_port(ports: &mut impl Iterator<Item = u16>) -> Result<u16> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let all = usize::from(LAST_PORT - FIRST_PORT) + 1;
    ports.take(all).find(is_free).context("no free port between 19000 and 19999")
}
