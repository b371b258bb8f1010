//! A thread of another process, stopped.

use std::fs;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// A thread of a child process that does not run while this value exists. Signals stop all threads of a
/// process; a debugger stops one.
#[derive(Debug)]
pub struct StoppedThread(Pid);

impl StoppedThread {
    /// Stops the thread of this name.
    ///
    /// # Panics
    /// If there is no such thread, or the process is not a child of this one.
    #[must_use]
    pub fn of(process: u32, name: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let named = tasks.map(|task| task.unwrap()).find(|task| {
            // Another thread may just have ended.
            fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        });
        let id = named.expect(name).file_name().into_string().unwrap();
        let id = Pid::from_raw(id.parse().unwrap());
        ptrace::seize(id, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(id).unwrap();
        waitpid(id, Some(WaitPidFlag::__WALL)).unwrap();
        Self(id)
    }
}

impl Drop for StoppedThread {
    fn drop(&mut self) {
        // The process may have ended.
        let _ = ptrace::detach(self.0, None);
    }
}
