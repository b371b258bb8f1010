//! Redis: a single server, one with Sentinels, and a cluster.

use std::process::Command;

use tempfile::TempDir;

use crate::{Guard, Program, free_port, wait_until};

/// Starts a Redis server.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn redis() -> Program {
    redis_with(&[])
}

/// Starts a Redis server with these arguments, on a free port.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn redis_with(arguments: &[&str]) -> Program {
    redis_guarded(&Guard::default(), arguments)
}

/// Starts a Redis server with a password or TLS, and these arguments.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn redis_guarded(guard: &Guard, arguments: &[&str]) -> Program {
    let port = free_port();
    let settings = guard.settings(port);
    let names: Vec<String> = settings.iter().map(|(name, _)| format!("--{name}")).collect();
    let guarded = names.iter().zip(&settings).flat_map(|(name, (_, value))| [&**name, value]);
    let mut all: Vec<&str> = guarded.collect();
    all.extend(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    // With the default, a replica is not in sync for the first five seconds.
    all.extend(["--repl-diskless-sync-delay", "0"]);
    let folder = std::env::temp_dir().to_string_lossy().into_owned();
    all.extend(["--dir", &folder]);
    Program::start("redis-server", &[&all[..], arguments].concat(), port)
}

/// Sends a command and returns the reply.
fn ask(server: &Program, guard: &Guard, command: &[&str]) -> String {
    let port = server.port.to_string();
    let output = Command::new("redis-cli")
        .args(["-p", &port])
        .args(guard.arguments())
        .args(command)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Addresses of programs, as in a URL with several hosts.
fn addresses<'a>(programs: impl IntoIterator<Item = &'a Program>) -> Vec<String> {
    programs.into_iter().map(|program| format!("127.0.0.1:{}", program.port)).collect()
}

/// A Redis Cluster of three masters, each with a replica.
#[derive(Debug)]
pub struct RedisCluster {
    /// The servers; which is a master changes.
    pub servers: Vec<Program>,
    guard: Guard,
    _folders: Vec<TempDir>,
}

impl RedisCluster {
    /// Starts a cluster.
    ///
    /// # Panics
    /// If it does not form.
    #[must_use]
    pub fn start() -> Self {
        Self::guarded(Guard::default(), &[])
    }

    /// Starts a cluster with a password or TLS, and these arguments for each server.
    ///
    /// # Panics
    /// If it does not form.
    #[must_use]
    pub fn guarded(guard: Guard, arguments: &[&str]) -> Self {
        let folders: Vec<TempDir> = (0..6).map(|_| tempfile::tempdir().unwrap()).collect();
        let server = |folder: &TempDir| {
            let folder = folder.path().to_string_lossy().into_owned();
            let mut own = vec!["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
            own.extend(["--dir", &folder]);
            if guard.certificate.is_some() {
                own.extend(["--tls-cluster", "yes"]);
            }
            if let Some(password) = guard.password {
                own.extend(["--masterauth", password]);
            }
            redis_guarded(&guard, &[&own[..], arguments].concat())
        };
        let servers: Vec<Program> = folders.iter().map(server).collect();
        let made = Command::new("redis-cli")
            .args(guard.arguments())
            .args(["--cluster", "create"])
            .args(addresses(&servers))
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let cluster = Self { servers, guard, _folders: folders };
        wait_until("the cluster is healthy", 30, || cluster.is_well() && cluster.is_replicated());
        cluster
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = self.guard.scheme("-cluster");
        let login = self.guard.login();
        format!("{scheme}://{login}{}", addresses(&self.servers).join(","))
    }

    fn ask(&self, server: &Program, command: &[&str]) -> String {
        ask(server, &self.guard, command)
    }

    /// Whether all servers report that all slots are served.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.servers.iter().all(|server| {
            let nodes = self.ask(server, &["cluster", "nodes"]);
            let masters = nodes.lines().filter(|line| line.contains("master"));
            self.ask(server, &["cluster", "info"]).contains("cluster_state:ok")
                && masters.filter(|line| !line.contains("fail")).count() == 3
        })
    }

    /// Whether each replica is in sync with its master, without which it can't take over.
    fn is_replicated(&self) -> bool {
        let replicates = |server: &&Program| {
            self.ask(server, &["info", "replication"]).contains("master_link_status:up")
        };
        self.servers.iter().filter(replicates).count() == 3
    }

    /// The server that serves the slot of a key.
    ///
    /// # Panics
    /// If no server does.
    #[must_use]
    pub fn master_of(&self, key: &str) -> usize {
        let slot = self.slot(key);
        let is_owner = |server: &Program| {
            let nodes = self.ask(server, &["cluster", "nodes"]);
            let own = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
            own.contains("master") && own.split(' ').skip(8).any(|range| holds(range, slot))
        };
        self.servers.iter().position(is_owner).expect("all slots are served")
    }

    /// The slot of a key.
    #[must_use]
    pub fn slot(&self, key: &str) -> u16 {
        let answer = self.ask(&self.servers[0], &["cluster", "keyslot", key]);
        answer.trim().parse().unwrap()
    }

    /// Moves a slot and its keys from one master to another.
    ///
    /// # Panics
    /// If the servers refuse.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let id = |at: usize| self.ask(&self.servers[at], &["cluster", "myid"]).trim().to_owned();
        let from_id = id(from);
        let to_id = id(to);
        let slot = slot.to_string();
        let set = |server: usize, what: &[&str]| {
            let command = [&["cluster", "setslot", &slot], what].concat();
            let answer = self.ask(&self.servers[server], &command);
            assert!(answer.starts_with("OK"), "{answer}");
        };
        set(to, &["importing", &from_id]);
        set(from, &["migrating", &to_id]);
        loop {
            let keys = self.ask(&self.servers[from], &["cluster", "getkeysinslot", &slot, "100"]);
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            let port = self.servers[to].port.to_string();
            let migrate = ["migrate", "127.0.0.1", &port, "", "0", "5000", "keys"];
            let answer = self.ask(&self.servers[from], &[&migrate[..], &keys].concat());
            assert!(answer.starts_with("OK"), "{answer}");
        }
        set(to, &["node", &to_id]);
        set(from, &["node", &to_id]);
    }

    /// A master other than this one.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn other_master(&self, than: usize) -> usize {
        let is_master = |server: &Program| self.ask(server, &["role"]).starts_with("master");
        (0..self.servers.len())
            .find(|at| *at != than && is_master(&self.servers[*at]))
            .expect("there are three")
    }
}

fn holds(range: &str, slot: u16) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().ok();
    matches!((number(first), number(last)), (Some(first), Some(last)) if (first..=last).contains(&slot))
}

/// A master, a replica, and three Sentinels that monitor them.
#[derive(Debug)]
pub struct Sentinels {
    /// The initial master and its replica.
    pub servers: [Program; 2],
    /// The Sentinels.
    pub sentinels: Vec<Program>,
    guard: Guard,
    _folders: Vec<TempDir>,
}

impl Sentinels {
    /// Starts all of them; the master is called `mymaster`.
    ///
    /// # Panics
    /// If they do not find each other.
    #[must_use]
    pub fn start() -> Self {
        Self::guarded(Guard::default())
    }

    /// Starts all of them with a password or TLS, the Sentinels too.
    ///
    /// # Panics
    /// If they do not find each other.
    #[must_use]
    pub fn guarded(guard: Guard) -> Self {
        let auth = guard.password.map(|password| ["--masterauth", password]);
        let auth: Vec<&str> = auth.into_iter().flatten().collect();
        let master = redis_guarded(&guard, &auth);
        let port = master.port.to_string();
        let replica = ["--replicaof", "127.0.0.1", &port];
        let replica = redis_guarded(&guard, &[&auth[..], &replica].concat());
        let mut sentinels = Vec::new();
        let mut folders = Vec::new();
        for _ in 0..3 {
            let own = free_port();
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("sentinel.conf");
            let mut settings = format!(
                "bind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds mymaster 1000\n\
                 sentinel failover-timeout mymaster 5000\n"
            );
            for (name, value) in guard.settings(own) {
                settings += &format!("{name} {value}\n");
            }
            if let Some(password) = guard.password {
                settings += &format!("sentinel auth-pass mymaster {password}\n");
            }
            std::fs::write(&file, settings).unwrap();
            let file = file.to_string_lossy().into_owned();
            sentinels.push(Program::start("redis-server", &[&file, "--sentinel"], own));
            folders.push(folder);
        }
        let all = Self { servers: [master, replica], sentinels, guard, _folders: folders };
        wait_until("the Sentinels know each other and the replica", 30, || {
            all.sentinels.iter().all(|sentinel| {
                let known = ask(sentinel, &all.guard, &["sentinel", "master", "mymaster"]);
                let count = |name: &str| {
                    let mut lines = known.lines().skip_while(|line| *line != name);
                    lines.nth(1).map(str::to_owned)
                };
                count("num-slaves").as_deref() == Some("1")
                    && count("num-other-sentinels").as_deref() == Some("2")
            })
        });
        all
    }

    /// Their address.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = self.guard.scheme("-sentinel");
        let login = self.guard.login();
        let hosts = addresses(&self.sentinels).join(",");
        let password = self.guard.password.map(|password| format!("?sentinel_password={password}"));
        format!("{scheme}://{login}{hosts}/mymaster{}", password.unwrap_or_default())
    }
}
