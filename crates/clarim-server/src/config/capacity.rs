//! The number of clients that the process has file descriptors for.
//!
//! Clients never take the last descriptors: API requests and probes are answered when no client can connect
//! any more, or an orchestrator would restart the server and disconnect all of them.

use std::num::NonZeroU16;

/// Descriptors for HTTP connections when the server has as many clients as it can have.
pub(crate) const FOR_HTTP: u64 = 64;

/// Descriptors of the process besides connections: logs, databases, the bus, webhooks.
const FOR_PROCESS: u64 = 20;

/// Descriptors of one worker: its listener and its polls.
const FOR_WORKER: u64 = 8;

/// Returns the number of clients that a limit of open files allows.
pub(super) fn clients(open_files: u64, workers: NonZeroU16) -> u64 {
    let workers = u64::from(workers.get());
    let reserved = FOR_HTTP + FOR_PROCESS + FOR_WORKER * workers;
    let clients = open_files.saturating_sub(reserved.min(open_files / 2));
    // With this feature, each worker has a descriptor table of its own.
    if cfg!(feature = "descriptor-tables") { clients.saturating_mul(workers) } else { clients }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_descriptors_for_the_api() {
        let two = NonZeroU16::new(2).unwrap();
        assert_eq!(clients(300, two), 200);
        assert_eq!(clients(50, two), 25);
        let many = NonZeroU16::new(64).unwrap();
        assert_eq!(clients(4096, many), 4096 - 64 * FOR_WORKER - FOR_PROCESS - FOR_HTTP);
    }
}
