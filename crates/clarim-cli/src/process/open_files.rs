//! The limit of open files. Each connection needs one.

use rlimit::{Resource, getrlimit, increase_nofile_limit};

/// Raises the soft limit as far as the system allows, and returns it.
pub(crate) fn raise_limit() -> u64 {
    increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        let limit = getrlimit(Resource::NOFILE).map_or(0, |(soft, _)| soft);
        tracing::warn!(%error, limit, "the limit of open files could not be raised");
        limit
    })
}

/// Returns the limit to which a server raises its soft limit.
pub(crate) fn hard_limit() -> u64 {
    getrlimit(Resource::NOFILE).map_or(u64::MAX, |(_, hard)| hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised() {
        let (soft, hard) = getrlimit(Resource::NOFILE).unwrap();
        let raised = raise_limit();
        assert!((soft..=hard).contains(&raised), "{raised} is not in {soft}..={hard}");
        assert_eq!(getrlimit(Resource::NOFILE).unwrap().0, raised);
    }
}
