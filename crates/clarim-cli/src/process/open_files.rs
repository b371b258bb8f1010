//! The limit of open files. Each connection needs one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Files that the process needs besides connections: listeners, logs, threads, pending requests.
pub(crate) const RESERVED: u64 = 100;

/// Raises the soft limit to the hard limit, and returns it.
pub(crate) fn raise_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let Some(allowed) = limit.maximum else {
        // There is no hard limit.
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
            tracing::warn!(%error, before, allowed, "the limit of open files could not be raised");
            before
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_limit() {
        let raised = raise_limit();
        assert_eq!(Some(raised), getrlimit(Resource::Nofile).current);
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
    }
}
