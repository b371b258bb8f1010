//! The program of this process, and its replacement by the new program on disk.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clarim_config::HANDOVER;
use nix::sys::signal::{SigSet, Signal};
use rustix::stdio::dup2_stdin;

use super::succession::{CHECK, CheckReport, GO_ON};

/// Timeout for the check of the new program.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum length of a reason.
const MAX_REASON: usize = 4096;

/// The program of this process: how it was started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The path as it was given: it may be a link that leads elsewhere by now.
    path: PathBuf,
    arguments: Vec<OsString>,
    /// The working directory by its name, if the name is known.
    directory: Option<PathBuf>,
}

impl Program {
    pub(crate) fn of_process() -> Self {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_else(|| "clarim".into());
        let search = std::env::var_os("PATH").unwrap_or_default();
        let path = find(&name, &search);
        Self { path, arguments: arguments.collect(), directory: named_directory() }
    }

    /// Checks that the program on disk starts with today's settings, and reads the snapshots of this one.
    /// Returns the reason if not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let path = self.path.display();
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).env(HANDOVER, CHECK);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let child = command.spawn().map_err(|error| format!("{path} cannot be run: {error}"))?;
        let Output { is_success, stdout, stderr } =
            output(child).map_err(|error| format!("{path} could not be checked: {error}"))?;
        let report = serde_json::from_str::<CheckReport>(&stdout);
        match report {
            _ if !is_success => {
                let reason =
                    if stderr.trim().is_empty() { "it says no reason" } else { stderr.trim() };
                Err(format!("{path} does not start: {reason}"))
            }
            Err(_) => Err(format!("{path} is not a version of Clarim that can go on for this one")),
            Ok(CheckReport { program, snapshots: (first, last) }) => {
                let version = clarim_server::SNAPSHOT_VERSION;
                if (first..=last).contains(&version) {
                    return Ok(());
                }
                Err(format!(
                    "{path} is Clarim {program}, which reads snapshots of the versions {first} to {last}; \
                     this server, Clarim {}, writes version {version}. Stop and start the server instead",
                    env!("CARGO_PKG_VERSION"),
                ))
            }
        }
    }

    /// Replaces the program of this process, with this standard input. Returns only if that fails, and then
    /// nothing has changed.
    pub(crate) fn replace(&self, stdin: BorrowedFd<'_>) -> io::Result<Infallible> {
        let own_stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let own_directory = fs::File::open(".")?;
        // A signal must not end the new program before it listens to signals.
        let signals: SigSet = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR2]
            .into_iter()
            .collect();
        signals.thread_block()?;
        let replaced = self.replace_now(stdin);
        signals.thread_unblock()?;
        dup2_stdin(own_stdin)?;
        rustix::process::fchdir(own_directory)?;
        replaced
    }

    fn replace_now(&self, stdin: BorrowedFd<'_>) -> io::Result<Infallible> {
        let name = std::env::args_os().next().unwrap_or_else(|| "clarim".into());
        let arguments = [name].into_iter().chain(self.arguments.iter().cloned());
        let arguments: Vec<CString> = arguments.map(c_string).collect::<io::Result<_>>()?;
        let variables = std::env::vars_os().filter(|(name, _)| name != HANDOVER);
        let variables = variables.chain([(HANDOVER.into(), GO_ON.into())]);
        let environment = variables.map(|(name, value)| {
            let mut text = name;
            text.push("=");
            text.push(value);
            c_string(text)
        });
        let environment: Vec<CString> = environment.collect::<io::Result<_>>()?;
        let path = c_string(self.path.clone().into_os_string())?;
        if let Some(directory) = &self.directory {
            std::env::set_current_dir(directory)?;
        }
        dup2_stdin(stdin)?;
        Ok(nix::unistd::execve(&path, &arguments, &environment)?)
    }
}

/// Takes signals again after the program was replaced. Call it when everything listens to them.
pub(crate) fn unblock_signals() {
    if let Err(error) = SigSet::all().thread_unblock() {
        tracing::error!(%error, "signals stay blocked");
    }
}

fn c_string(text: OsString) -> io::Result<CString> {
    CString::new(text.into_vec()).map_err(io::Error::from)
}

/// The path of a program by its name, as a shell finds it.
fn find(name: &OsStr, search: &OsStr) -> PathBuf {
    if name.as_bytes().contains(&b'/') {
        return name.into();
    }
    let candidates = std::env::split_paths(search).map(|directory| directory.join(name));
    let is_program =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|it| it.is_file() && it.mode() & 0o111 != 0);
    let mut programs = candidates.filter(is_program);
    programs.next().unwrap_or_else(|| name.into())
}

/// The working directory by the name under which a shell has entered it. A link in it may lead to another
/// release by now.
fn named_directory() -> Option<PathBuf> {
    let named = PathBuf::from(std::env::var_os("PWD")?);
    let is_same = |a: &fs::Metadata, b: &fs::Metadata| a.dev() == b.dev() && a.ino() == b.ino();
    let here = fs::metadata(".").ok()?;
    let there = fs::metadata(&named).ok()?;
    (named.is_absolute() && is_same(&here, &there)).then_some(named)
}

/// The output of a program.
struct Output {
    is_success: bool,
    stdout: String,
    stderr: String,
}

/// Waits for the end of a program, at most [`CHECK_TIMEOUT`].
fn output(mut child: Child) -> io::Result<Output> {
    let mut stdout = child.stdout.take();
    let mut stderr = child.stderr.take();
    // Read by threads, because the program may print more than a pipe holds.
    let stdout = std::thread::spawn(move || read(stdout.as_mut()));
    let stderr = std::thread::spawn(move || read(stderr.as_mut()));
    let deadline = Instant::now() + CHECK_TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other(format!("it did not end within {CHECK_TIMEOUT:?}")));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let joined = |thread: std::thread::JoinHandle<String>| thread.join().unwrap_or_default();
    Ok(Output { is_success: status.success(), stdout: joined(stdout), stderr: joined(stderr) })
}

fn read(stream: Option<&mut impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // An error ends the output early.
        let _ = stream.take(MAX_REASON as u64).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_program_is_found_as_by_a_shell() {
        assert_eq!(find(OsStr::new("./clarim"), OsStr::new("/bin")), Path::new("./clarim"));
        assert_eq!(find(OsStr::new("sh"), OsStr::new("/nowhere:/bin")), Path::new("/bin/sh"));
        assert_eq!(
            find(OsStr::new("no-such-program"), OsStr::new("/bin")),
            Path::new("no-such-program")
        );
    }
}
