//! What can be seen on this machine alone: the limit of open files, and the bus.

use rustix::process::{Resource, getrlimit};
use tokio::time::timeout;

use clarim_bus::{Bus, Event};

use super::{Finding, PATIENCE};
use crate::open_files::RESERVED;
use crate::settings::Settings;

/// A server with fewer is full soon.
const FEW: u64 = 4_096;

pub(super) async fn look(settings: &Settings) -> Vec<Finding> {
    let allowed = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let configured = settings.apps.iter().map(|app| app.limits.connections).sum::<Option<u32>>();
    let mut findings = vec![files(allowed, configured.map(u64::from))];
    if settings.server.scaling.is_some() {
        findings.push(bus(settings).await);
    }
    findings
}

/// `configured`: connections that the apps may have, if all have a limit.
fn files(allowed: u64, configured: Option<u64>) -> Finding {
    let places = allowed.saturating_sub(RESERVED);
    let cure = "raise it: LimitNOFILE= in a systemd unit, minfds= in supervisord.conf, \
                nofile in /etc/security/limits.conf, ulimit -n in a shell";
    match configured {
        Some(wanted) if wanted > places => {
            let what = format!(
                "MAX_CONNECTIONS adds up to {wanted}, but {allowed} open files are room for {places}"
            );
            Finding::problem("open files", what, cure)
        }
        _ if allowed < FEW => {
            let what = format!("{allowed} open files are room for {places} connections only");
            Finding::warning("open files", what, cure)
        }
        _ => Finding::fine("open files", format!("room for {places} connections")),
    }
}

async fn bus(settings: &Settings) -> Finding {
    let Some(scaling) = &settings.server.scaling else {
        return Finding::fine("bus", "one node alone");
    };
    let mut connection = scaling.bus.connect();
    let kind = scaling.bus.kind();
    match timeout(PATIENCE, connection.next()).await {
        Ok(Event::Down(reason)) => down(kind, &reason),
        Ok(_) => {
            let what = format!("{kind} answers; names begin with {:?}", scaling.prefix);
            Finding::fine("bus", what)
        }
        Err(_) => down(kind, &format!("no answer within {PATIENCE:?}")),
    }
}

fn down(kind: &str, reason: &str) -> Finding {
    let what = format!("{kind} cannot be used: {reason}");
    let lower = reason.to_lowercase();
    let is_any = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let cure = if is_any(&["wrongpass", "noauth", "authenticat", "password", "authorization"]) {
        "give the right REDIS_USERNAME and REDIS_PASSWORD, or those in SCALING_URL"
    } else if is_any(&["noperm", "permission"]) {
        "give the user +@pubsub +hello +select +client +ping, and all channels of the prefix"
    } else {
        "start it, or give the right REDIS_HOST and REDIS_PORT, or SCALING_URL"
    };
    Finding::problem("bus", what, cure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn files_are_compared_with_what_is_configured() {
        assert_eq!(files(1_000_000, None).level, Level::Fine);
        assert_eq!(files(1_024, None).level, Level::Warning);
        assert_eq!(files(20_000, Some(19_000)).level, Level::Fine);
        let finding = files(20_000, Some(30_000));
        assert_eq!(finding.level, Level::Problem);
        assert!(finding.what.contains("30000") && finding.what.contains("20000"));
    }
}
