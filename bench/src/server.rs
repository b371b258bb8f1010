//! The server under test: a child process on a core of its own, and what it costs.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clarim_protocol::auth::AppKey;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Deserialize;

/// A server as the file of peers describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// Program and arguments; `{port}` stands for the port to listen on.
    pub(crate) command: Vec<String>,
    /// Its environment, beside the caller's own.
    #[serde(default)]
    pub(crate) env: std::collections::BTreeMap<String, String>,
    #[serde(default = "Peer::default_app")]
    app_id: String,
    #[serde(default = "Peer::default_key")]
    key: String,
    #[serde(default = "Peer::default_secret")]
    secret: String,
}

impl Peer {
    fn default_app() -> String {
        "bench".to_owned()
    }

    fn default_key() -> String {
        "bench-key".to_owned()
    }

    fn default_secret() -> String {
        "bench-secret".to_owned()
    }
}

/// Where a server is and how it is spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) app_id: String,
    pub(crate) key: AppKey,
}

/// A running server. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) target: Target,
}

/// Core of the server, and core of the load.
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;

impl Server {
    /// Starts a peer on its core, and moves this process to the other.
    pub(crate) fn start(peer: &Peer, port: u16) -> Result<Self> {
        let fill = |text: &String| text.replace("{port}", &port.to_string());
        let (program, args) = peer.command.split_first().context("the peer's command is empty")?;
        // The child inherits the core.
        pin(SERVER_CORE)?;
        let child = Command::new(fill(program))
            .args(args.iter().map(fill))
            .envs(peer.env.iter().map(|(name, value)| (name, fill(value))))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot start {}: {program}", peer.name))?;
        let key = AppKey::new(peer.key.as_str(), &peer.secret);
        let target = Target { port, app_id: peer.app_id.clone(), key };
        let mut server = Self { child, target };
        pin(CLIENT_CORE)?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{} ended at once: {status}", peer.name);
            }
            if Instant::now() > deadline {
                bail!("{} does not listen on port {port}", peer.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// CPU time of all its threads so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(&self.child.id().to_string())
    }

    /// Bytes of resident memory.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kilobytes.context("no VmRSS")?.trim().parse::<u64>()? * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of this process so far.
pub(crate) fn own_cpu() -> Result<Duration> {
    cpu_of("self")
}

/// The scheduler's own figure, in nanoseconds, over all threads.
fn cpu_of(process: &str) -> Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let on_cpu = text.split(' ').next().unwrap_or_default();
        total += on_cpu.parse::<u64>().context("schedstat")?;
    }
    Ok(Duration::from_nanos(total))
}

fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("cannot move to core {core}"))
}
