//! How many connections the process may hold.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors that the process needs for itself: listener, logs, threads, requests under way.
pub(crate) const RESERVED: u64 = 100;

/// Raises the limit of open files as far as is allowed, and returns it. Each connection is one.
pub(crate) fn raise() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let Some(allowed) = limit.maximum else {
        // Without a bound there is nothing to raise.
        return limit.current.unwrap_or(u64::MAX);
    };
    if limit.current.is_some_and(|current| current >= allowed) {
        return allowed;
    }
    let before = limit.current.unwrap_or(allowed);
    limit.current = Some(allowed);
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => allowed,
        Err(error) => {
            tracing::warn!(%error, before, allowed, "the limit of open files cannot be raised");
            before
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_what_the_system_allows() {
        let raised = raise();
        assert_eq!(Some(raised), getrlimit(Resource::Nofile).current);
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
    }
}
