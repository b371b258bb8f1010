//! What can be seen on this machine alone: the limit of open files, and the bus.

use std::collections::BTreeMap;

use bytes::Bytes;
use clarim_protocol::cluster::NODE;
use rustix::process::{Pid, Resource, getrlimit};
use tokio::time::timeout;

use clarim_bus::BusEvent;

use super::{Finding, PATIENCE};
use crate::open_files::RESERVED;
use crate::run_file;
use clarim_config::Config;
use clarim_server::config::Scaling;

/// A server with fewer is full soon.
const FEW: u64 = 4_096;

pub(super) async fn look(settings: &Config) -> Vec<Finding> {
    let configured = settings.apps.iter().map(|app| app.limits.connections).sum::<Option<u32>>();
    let mut findings = vec![files(&Files::of(settings), configured.map(u64::from))];
    if settings.server.scaling.is_some() {
        findings.push(bus(settings).await);
    }
    findings
}

/// How many files may be open, and of which process that is known.
struct Files {
    allowed: u64,
    /// The server, if it runs. A supervisor gives it another limit than a shell gives to this command.
    server: Option<Pid>,
}

impl Files {
    fn of(settings: &Config) -> Self {
        let (directory, port) = (&settings.state_dir, settings.server.port);
        let running = run_file::live(directory, port).ok().flatten();
        let of_server = running.and_then(|pid| Some((pid, allowed_to(pid)?)));
        match of_server {
            Some((pid, allowed)) => Self { allowed, server: Some(pid) },
            // It would raise its limit as far as this.
            None => {
                let allowed = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
                Self { allowed, server: None }
            }
        }
    }
}

/// The limit of a process that runs; `None` where the system does not tell.
fn allowed_to(pid: Pid) -> Option<u64> {
    let path = format!("/proc/{}/limits", pid.as_raw_nonzero());
    soft_limit(&std::fs::read_to_string(path).ok()?)
}

/// Of "Max open files  1024  4096  files": the first, which a server has raised as far as it may.
fn soft_limit(limits: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// `configured`: connections that the apps may have, if all have a limit.
fn files(Files { allowed, server }: &Files, configured: Option<u64>) -> Finding {
    let places = allowed.saturating_sub(RESERVED);
    let whose = server.map_or_else(String::new, |pid| {
        format!(" of the running server (process {})", pid.as_raw_nonzero())
    });
    let again = if server.is_some() { ", and start it again" } else { "" };
    let cure = format!(
        "raise it: LimitNOFILE= in a systemd unit, minfds= in supervisord.conf, nofile in \
         /etc/security/limits.conf, ulimit -n in a shell{again}"
    );
    match configured {
        Some(wanted) if wanted > places => {
            let what = format!(
                "MAX_CONNECTIONS adds up to {wanted}, but {allowed} open files{whose} are room for {places}"
            );
            Finding::problem("open files", what, format!("{cure}; or lower MAX_CONNECTIONS"))
        }
        _ if *allowed < FEW => {
            let what =
                format!("{allowed} open files{whose} are room for {places} connections only");
            Finding::warning("open files", what, cure)
        }
        _ => Finding::fine("open files", format!("room for {places} connections")),
    }
}

/// Whether the bus of these settings can be used, and who else is there.
pub(super) async fn bus(settings: &Config) -> Finding {
    let Some(scaling) = &settings.server.scaling else {
        return Finding::fine("bus", "one node alone");
    };
    let kind = scaling.bus.kind();
    match timeout(PATIENCE, carries(scaling)).await {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => return down(kind, &reason),
        Err(_) => return down(kind, &format!("no answer within {PATIENCE:?}")),
    }
    let nodes = format!("*{NODE}*");
    match timeout(PATIENCE, scaling.bus.subjects(&nodes)).await {
        Ok(Ok(Some(subjects))) => prefixes(kind, &scaling.prefix, &subjects),
        // It may be forbidden to ask.
        _ => {
            let prefix = &scaling.prefix;
            let what = format!(
                "{kind} answers; names begin with {prefix:?}, and it does not tell with what those of other \
                 nodes do"
            );
            Finding::fine("bus", what)
        }
    }
}

/// Says something to itself, below the prefix. Who is let in may still not be allowed to.
async fn carries(scaling: &Scaling) -> Result<(), String> {
    let subject = format!("{}:doctor", scaling.prefix);
    let mut connection = scaling.bus.connect();
    loop {
        match connection.next().await {
            BusEvent::Connected => connection.subscribe(&subject),
            BusEvent::Subscribed { .. } => {
                connection.publish(&subject, Bytes::from_static(b"look"), 0)
            }
            BusEvent::Message { .. } => return Ok(()),
            BusEvent::Disconnected(error) => return Err(error.to_string()),
            BusEvent::Lost { .. } => return Err("it does not take a message".to_owned()),
            _ => {}
        }
    }
}

/// `subjects`: those of single nodes, whatever they begin with.
fn prefixes(kind: &str, own: &str, subjects: &[String]) -> Finding {
    let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
    for (prefix, _) in subjects.iter().filter_map(|subject| subject.rsplit_once(NODE)) {
        *nodes.entry(prefix).or_default() += 1;
    }
    let shown = |prefix: &str, count: usize| {
        let nodes = if count == 1 { "node" } else { "nodes" };
        format!("{prefix:?} ({count} {nodes})")
    };
    let ours = nodes.remove(own).unwrap_or_default();
    let what = format!("{kind} answers; names begin with {}", shown(own, ours));
    if nodes.is_empty() {
        return Finding::fine("bus", what);
    }
    let others: Vec<_> = nodes.into_iter().map(|(prefix, count)| shown(prefix, count)).collect();
    let others = others.join(", ");
    Finding::warning(
        "bus",
        format!("{what}, but there are nodes with another prefix: {others}"),
        "nodes of one cluster need the same: give all of them one REVERB_SCALING_CHANNEL, and start them \
         again; if the others are another application's, all is well",
    )
}

fn down(kind: &str, reason: &str) -> Finding {
    let what = format!("{kind} cannot be used: {reason}");
    let lower = reason.to_lowercase();
    let is_any = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let cure = if is_any(&["wrongpass", "noauth", "authenticat", "password", "authorization"]) {
        "give the right REDIS_USERNAME and REDIS_PASSWORD, or those in SCALING_URL"
    } else if is_any(&["noperm", "permission"]) {
        "give the user +@pubsub +hello +select +client +ping +role, and all channels of the prefix"
    } else {
        "start it, or give the right REDIS_HOST and REDIS_PORT, or SCALING_URL"
    };
    Finding::problem("bus", what, cure)
}

#[cfg(test)]
mod tests {
    use clarim_protocol::cluster::{NodeId, node_subject};

    use super::*;
    use crate::doctor::Level;

    #[test]
    fn files_are_compared_with_what_is_configured() {
        let judged = |allowed, configured| files(&Files { allowed, server: None }, configured);
        assert_eq!(judged(1_000_000, None).level, Level::Fine);
        assert_eq!(judged(1_024, None).level, Level::Warning);
        assert_eq!(judged(20_000, Some(19_000)).level, Level::Fine);
        let finding = judged(20_000, Some(30_000));
        assert_eq!(finding.level, Level::Problem);
        assert!(finding.what.contains("30000") && finding.what.contains("20000"));
    }

    #[test]
    fn prefixes_of_other_nodes_are_told() {
        let node = |prefix: &str, id| node_subject(prefix, NodeId(id));
        let told = |subjects: &[String]| prefixes("redis", "shop", subjects);
        let alone = told(&[node("shop", 1), node("shop", 2)]);
        assert_eq!(
            (alone.level, &*alone.what),
            (Level::Fine, "redis answers; names begin with \"shop\" (2 nodes)")
        );
        let apart = told(&[node("shop", 1), node("a:node:b", 2), node("Shop", 3), node("Shop", 4)]);
        assert_eq!(apart.level, Level::Warning);
        assert!(
            apart.what.ends_with(
                "\"shop\" (1 node), but there are nodes with another prefix: \
            \"Shop\" (2 nodes), \"a:node:b\" (1 node)"
            ),
            "{}",
            apart.what
        );
        assert_eq!(told(&[]).level, Level::Fine);
    }

    #[test]
    fn the_limit_of_another_process_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             unlimited            unlimited            processes \n\
                      Max open files            1024                 4096                 files     \n";
        assert_eq!(soft_limit(limits), Some(1_024));
        assert_eq!(soft_limit("Max open files            unlimited  unlimited"), Some(u64::MAX));
        assert_eq!(soft_limit("Max processes  7"), None);
        let own = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert_eq!(allowed_to(rustix::process::getpid()), Some(own));
    }
}
