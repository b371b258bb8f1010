//! The server under test: a child process on a core of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clarim_protocol::auth::AppKey;
use clarim_testing::Certificate;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use rustls::ClientConfig;

use super::peers::Peer;
use super::process::{Clock, anonymous_memory, memory, pin};

/// Timeout until a server listens.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Timeout for a server to shut down.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The cores to use. They should be different physical cores.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Cores {
    /// Core of the server under test.
    #[arg(long, default_value_t = 0)]
    pub(crate) server_core: usize,
    /// Core of the load generator.
    #[arg(long, default_value_t = 1)]
    pub(crate) client_core: usize,
}

/// A server's address and credentials.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Whether clients offer compression, which the server must accept then.
    pub(crate) deflate: bool,
    /// Whether each client names a page id.
    pub(crate) pages: bool,
    pub(crate) port: u16,
    pub(crate) app_id: String,
    pub(crate) key: AppKey,
    pub(crate) scrape: String,
    /// Of clients, if the server has TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// Bytes by which settled memory may still change.
const SETTLED: u64 = 64 << 10;

/// Time between two looks at the memory of a server that settles.
pub(crate) const SETTLE_PAUSE: Duration = Duration::from_millis(500);

/// How long memory may take to settle.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// A running server. Dropping it kills it, and so does the kernel if this process is killed.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) target: Target,
    /// The other nodes of its cluster.
    others: Vec<Self>,
    /// With the files that it reads.
    _certificate: Certificate,
}

impl Server {
    /// Starts a server on its core, pins this process to the other, and waits until the server listens.
    pub(crate) fn start(peer: &Peer, port: u16, cores: Cores) -> Result<Self> {
        let certificate = Certificate::new();
        let tls = peer.tls.map(|handshakes| handshakes.config(&certificate)).transpose()?;
        let fill = |text: &String| {
            let text = text.replace("{port}", &port.to_string());
            text.replace("{cert}", &certificate.file).replace("{key}", &certificate.key)
        };
        // Otherwise another server on this port would be measured.
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("port {port} is in use; choose another one with --port"))?;
        let child = Command::new(std::env::current_exe()?)
            .args(["exec", "--core", &cores.server_core.to_string(), "--"])
            .args(peer.command.iter().map(fill))
            .envs(peer.env.iter().map(|(name, value)| (name, fill(value))))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot start {}", peer.name))?;
        let key = AppKey::new(peer.key.as_str(), &peer.secret);
        let target = Target {
            deflate: false,
            pages: false,
            port,
            app_id: peer.app_id.clone(),
            key,
            scrape: peer.scrape.clone(),
            tls,
        };
        let mut server = Self { child, target, others: Vec::new(), _certificate: certificate };
        pin(cores.client_core)?;
        server.wait(&peer.name)?;
        Ok(server)
    }

    /// Starts a cluster of this many nodes, on consecutive ports and one core. Their bus is set in the
    /// environment of `peer`.
    pub(crate) fn start_cluster(peer: &Peer, port: u16, cores: Cores, nodes: u16) -> Result<Self> {
        let mut first = Self::start(peer, port, cores)?;
        for n in 1..nodes {
            first.others.push(Self::start(peer, port + n, cores)?);
        }
        if !first.others.is_empty() {
            (0..nodes).try_for_each(|n| first.node(n.into()).wait_for_bus())?;
        }
        Ok(first)
    }

    /// One of the nodes of its cluster, in turn. Without a cluster it is the server itself.
    pub(crate) fn node(&self, n: usize) -> &Self {
        let place = n % (self.others.len() + 1);
        place.checked_sub(1).map_or(self, |place| &self.others[place])
    }

    /// Waits until it has joined its cluster.
    fn wait_for_bus(&self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        let mut answer = String::new();
        while !answer.starts_with("HTTP/1.1 200") {
            ensure!(Instant::now() < deadline, "a node has not joined its cluster: {answer}");
            std::thread::sleep(Duration::from_millis(200));
            answer.clear();
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.target.port))?;
            stream.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            stream.read_to_string(&mut answer)?;
        }
        Ok(())
    }

    fn wait(&mut self, name: &str) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        let port = self.target.port;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{name} exited at once: {status}");
            }
            if Instant::now() > deadline {
                bail!("{name} is not listening on port {port} after {START_LIMIT:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Shuts it down gracefully, and waits until it has exited.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let deadline = Instant::now() + STOP_LIMIT;
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        while self.child.try_wait()?.is_none() {
            ensure!(
                Instant::now() < deadline,
                "the server has not shut down within {STOP_LIMIT:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU time so far, of the process itself without its child processes.
    pub(crate) fn clock(&self) -> Result<Clock> {
        Clock::of(&self.child.id().to_string()).context("the server has exited")
    }

    /// Bytes of resident memory.
    pub(crate) fn memory(&self) -> Result<u64> {
        memory(self.child.id()).context("the server has exited")
    }

    /// Bytes of resident memory without the pages of files, such as the program's code.
    pub(crate) fn anonymous_memory(&self) -> Result<u64> {
        anonymous_memory(self.child.id()).context("the server has exited")
    }

    /// Bytes of resident memory once they no longer change, while `listen` keeps the clients alive for the
    /// time that it is given. Gives up after ten seconds and returns the last value.
    pub(crate) fn settled_memory(
        &self,
        mut listen: impl FnMut(Duration) -> Result<()>,
        pause: Duration,
    ) -> Result<u64> {
        let mut memory = self.memory()?;
        let deadline = Instant::now() + SETTLE_LIMIT;
        while Instant::now() < deadline {
            listen(pause)?;
            let before = std::mem::replace(&mut memory, self.memory()?);
            if memory.abs_diff(before) <= SETTLED {
                break;
            }
        }
        Ok(memory)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have exited by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Replaces this process with the server under test, pinned to a core and killed with its parent.
#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    #[arg(long)]
    core: usize,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Exec {
    /// Returns only if it fails.
    pub(crate) fn replace(self) -> Result<()> {
        pin(self.core)?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let (program, args) = self.command.split_first().context("no command")?;
        let error = Command::new(program).args(args).exec();
        Err(error).with_context(|| format!("cannot start {program}"))
    }
}
