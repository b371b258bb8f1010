//! What belongs to a process: its signals, its limit of open files, its run file and its supervisor.

pub(crate) mod open_files;
#[cfg_attr(not(target_os = "linux"), path = "no_program.rs")]
pub(crate) mod program;
pub(crate) mod run_file;
pub(crate) mod signals;
pub(crate) mod succession;
pub(crate) mod supervision;
pub(crate) mod systemd;
