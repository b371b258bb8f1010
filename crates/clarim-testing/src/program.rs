//! A server program, which can be killed, frozen and started again at the same address.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait_until;

/// A running server program, which is killed when this value is dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    arguments: Vec<String>,
    /// The port it listens on.
    pub port: u16,
    child: Child,
}

impl Program {
    /// Starts a program and waits until it listens.
    ///
    /// # Panics
    /// If it can't be started or does not listen.
    #[must_use]
    pub fn start(name: &str, arguments: &[&str], port: u16) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let child = spawn(name, &arguments);
        let program = Self { name: name.to_owned(), arguments, port, child };
        program.wait();
        program
    }

    /// Its URL with this scheme.
    #[must_use]
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, like `kill -9`.
    ///
    /// # Panics
    /// If it can't be killed.
    pub fn kill(&mut self) {
        self.thaw();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGINT, like Ctrl-C, and waits for its end.
    pub fn interrupt(&mut self) {
        self.thaw();
        // It may have ended.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
            let _ = self.child.wait();
        }
    }

    /// Sends SIGTERM.
    ///
    /// # Panics
    /// If it has ended.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Kills it and starts it again, at the same address.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.name, &self.arguments);
        self.wait();
    }

    /// Freezes all its threads with SIGSTOP. Its connections stay open.
    ///
    /// # Panics
    /// If it has ended.
    pub fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
        // One thread receives the signal and stops the others, which may run a moment longer.
        wait_until(&format!("{} is frozen", self.name), 10, || self.is_frozen());
    }

    fn is_frozen(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        threads.flatten().all(|thread| {
            // The state follows the name, which is in parentheses.
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['T', 't']))
        })
    }

    /// Continues it with SIGCONT.
    pub fn thaw(&self) {
        // It may have ended.
        let _ = kill_process(Pid::from_child(&self.child), Signal::CONT);
    }

    fn wait(&self) {
        let listens = || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
        wait_until(&format!("{} listens", self.name), 10, listens);
    }
}

/// Spawns a program that is killed when the thread of the test ends.
fn spawn(name: &str, arguments: &[String]) -> Child {
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", name])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{name} can't be started: {error}"))
}

impl Drop for Program {
    fn drop(&mut self) {
        self.thaw();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
