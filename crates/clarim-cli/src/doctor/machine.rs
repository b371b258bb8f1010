//! Checks of this machine: the limit of open files, and the bus.

use std::collections::BTreeMap;

use bytes::Bytes;
use clarim_bus::BusEvent;
use clarim_cluster::subject::NODE;
use clarim_config::Config;
use clarim_server::config::Scaling;
use clarim_server::{App, ClientEvents};
use rustix::process::Pid;
use tokio::time::timeout;

use super::finding::{Finding, TIMEOUT};
use super::history;
use crate::process::open_files;
use crate::process::run_file;

/// A limit of open files below this is probably too low.
const FEW: u64 = 4_096;

pub(super) async fn check(settings: &Config) -> Vec<Finding> {
    let configured = settings.apps.iter().map(|app| app.limits.connections).sum::<Option<u32>>();
    let mut findings = vec![files(&Files::of(settings), configured.map(u64::from))];
    findings.extend(client_events(&settings.apps));
    if settings.server.scaling.is_some() {
        findings.push(bus(settings).await);
        findings.extend(history::store(settings).await);
    }
    findings
}

/// Names the channels on which clients may send events, where that differs from Reverb.
fn client_events(apps: &[App]) -> Option<Finding> {
    let is_narrower =
        |app: &App| app.client_events != ClientEvents::None && !app.client_events_on_public;
    apps.iter().any(is_narrower).then(|| {
        Finding::ok(
            "client events",
            "accepted on private and presence channels, as by Pusher; Reverb accepts them (whispers) on public \
             channels too: APP_CLIENT_EVENTS_ON_PUBLIC_CHANNELS=true",
        )
    })
}

/// The limit of open files of the server, or of this process.
struct Files {
    allowed: u64,
    /// Connections that this limit allows.
    places: u64,
    /// The running server, which may have another limit than this command.
    server: Option<Pid>,
}

impl Files {
    fn of(settings: &Config) -> Self {
        let running = run_file::find(&settings.state_dir, settings.server.port).ok();
        let of_server = running.and_then(|it| Some((it.pid, allowed_to(it.pid)?)));
        let server = of_server.map(|(pid, _)| pid);
        // A server would raise its limit to the hard one.
        let allowed = of_server.map_or_else(open_files::hard_limit, |(_, allowed)| allowed);
        Self { allowed, places: settings.server.capacity(allowed), server }
    }
}

/// The limit of another process. Only Linux reports it.
fn allowed_to(pid: Pid) -> Option<u64> {
    let path = format!("/proc/{}/limits", pid.as_raw_nonzero());
    soft_limit(&std::fs::read_to_string(path).ok()?)
}

/// The first number of "Max open files  1024  4096  files"; a server has raised it to the second.
fn soft_limit(limits: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Compares the limit with the connections that the apps may have, if all have a maximum.
fn files(Files { allowed, places, server }: &Files, configured: Option<u64>) -> Finding {
    let whose = server.map_or_else(String::new, |pid| {
        format!(" of the running server (process {})", pid.as_raw_nonzero())
    });
    let again = if server.is_some() { ", and restart the server" } else { "" };
    let remedy = format!(
        "raise the limit: LimitNOFILE= in a systemd unit, minfds= in supervisord.conf, nofile in \
         /etc/security/limits.conf, ulimit -n in a shell{again}"
    );
    match configured {
        Some(wanted) if wanted > *places => {
            let what = format!(
                "the apps may have {wanted} connections (APP_MAX_CONNECTIONS), but {allowed} open files{whose} allow {places}"
            );
            Finding::problem("open files", what, format!("{remedy}; or lower APP_MAX_CONNECTIONS"))
        }
        _ if *allowed < FEW => {
            let what = format!("{allowed} open files{whose} allow only {places} connections");
            Finding::warning("open files", what, remedy)
        }
        _ => Finding::ok("open files", format!("the limit allows {places} connections")),
    }
}

/// Checks that the bus of these settings works, and lists the prefixes of its nodes.
pub(super) async fn bus(settings: &Config) -> Finding {
    let Some(scaling) = &settings.server.scaling else {
        return Finding::ok("bus", "no cluster");
    };
    let kind = scaling.bus.kind();
    match timeout(TIMEOUT, round_trip(scaling)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return down(kind, &error.to_string()),
        Err(_) => return down(kind, &format!("no response within {TIMEOUT:?}")),
    }
    let nodes = format!("*{NODE}*");
    match timeout(TIMEOUT, scaling.bus.subjects(&nodes)).await {
        Ok(Ok(Some(subjects))) => prefixes(kind, &scaling.prefix, &subjects),
        // Listing may be forbidden.
        _ => {
            let prefix = &scaling.prefix;
            let what = format!(
                "{kind} is reachable, with the prefix {prefix:?}; it does not list the prefixes of other nodes"
            );
            Finding::ok("bus", what)
        }
    }
}

/// Why a message did not come back.
#[derive(Debug, thiserror::Error)]
enum RoundTripError {
    #[error(transparent)]
    Disconnected(clarim_bus::BusError),
    #[error("it does not accept a message")]
    Lost,
}

/// Sends a message to itself, below the prefix. A user that may connect is not necessarily allowed to.
async fn round_trip(scaling: &Scaling) -> Result<(), RoundTripError> {
    let subject = format!("{}:doctor", scaling.prefix);
    let mut connection = scaling.bus.connect();
    loop {
        match connection.next().await {
            BusEvent::Connected => connection.subscribe(&subject),
            BusEvent::Subscribed { .. } => {
                connection.publish(&subject, Bytes::from_static(b"look"), 0)
            }
            BusEvent::Message { .. } => return Ok(()),
            BusEvent::Disconnected(error) => return Err(RoundTripError::Disconnected(error)),
            BusEvent::Lost { .. } => return Err(RoundTripError::Lost),
            _ => {}
        }
    }
}

/// Compares the prefix with those of the nodes' subjects.
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
    let what = format!("{kind} is reachable, with the prefix {}", shown(own, ours));
    if nodes.is_empty() {
        return Finding::ok("bus", what);
    }
    let others: Vec<_> = nodes.into_iter().map(|(prefix, count)| shown(prefix, count)).collect();
    let others = others.join(", ");
    Finding::warning(
        "bus",
        format!("{what}, but there are nodes with another prefix: {others}"),
        "nodes of one cluster need the same prefix: set the same REVERB_SCALING_CHANNEL on all of them and restart \
         them; if the others belong to another application, nothing is wrong",
    )
}

fn down(kind: &str, reason: &str) -> Finding {
    let what = format!("{kind} cannot be used: {reason}");
    let lower = reason.to_lowercase();
    let is_any = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let remedy = if is_any(&["wrongpass", "noauth", "authenticat", "password", "authorization"]) {
        "correct REDIS_USERNAME and REDIS_PASSWORD, or those in SCALING_URL"
    } else if is_any(&["noperm", "permission"]) {
        "give the user +@pubsub +hello +select +client +ping +role, and all channels of the prefix"
    } else {
        "start it, or correct REDIS_HOST and REDIS_PORT, or SCALING_URL"
    };
    Finding::problem("bus", what, remedy)
}

#[cfg(test)]
mod tests {
    use clarim_cluster::{NodeId, node_subject};

    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn open_files_are_compared_with_the_connections() {
        let judged = |allowed, configured| {
            files(&Files { allowed, places: allowed - 100, server: None }, configured)
        };
        assert_eq!(judged(1_000_000, None).level, Level::Ok);
        assert_eq!(judged(1_024, None).level, Level::Warning);
        assert_eq!(judged(20_000, Some(19_000)).level, Level::Ok);
        let finding = judged(20_000, Some(30_000));
        assert_eq!(finding.level, Level::Problem);
        assert!(finding.what.contains("30000") && finding.what.contains("20000"));
    }

    #[test]
    fn prefixes_of_other_nodes_are_listed() {
        let node = |prefix: &str, id| node_subject(prefix, NodeId(id));
        let finding = |subjects: &[String]| prefixes("redis", "shop", subjects);
        let alone = finding(&[node("shop", 1), node("shop", 2)]);
        assert_eq!(
            (alone.level, &*alone.what),
            (Level::Ok, "redis is reachable, with the prefix \"shop\" (2 nodes)")
        );
        let apart =
            finding(&[node("shop", 1), node("a:node:b", 2), node("Shop", 3), node("Shop", 4)]);
        assert_eq!(apart.level, Level::Warning);
        assert!(
            apart.what.ends_with(
                "\"shop\" (1 node), but there are nodes with another prefix: \
            \"Shop\" (2 nodes), \"a:node:b\" (1 node)"
            ),
            "{}",
            apart.what
        );
        assert_eq!(finding(&[]).level, Level::Ok);
    }

    #[test]
    fn the_limit_of_another_process_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             unlimited            unlimited            processes \n\
                      Max open files            1024                 4096                 files     \n";
        assert_eq!(soft_limit(limits), Some(1_024));
        assert_eq!(soft_limit("Max open files            unlimited  unlimited"), Some(u64::MAX));
        assert_eq!(soft_limit("Max processes  7"), None);
        let (own, _) = rlimit::getrlimit(rlimit::Resource::NOFILE).unwrap();
        let expected = cfg!(target_os = "linux").then_some(own);
        assert_eq!(allowed_to(rustix::process::getpid()), expected);
    }
}
