//! What belongs to a process: its signals, its limit of open files, its run file and its supervisor.

pub(crate) mod open_files;
pub(crate) mod run_file;
pub(crate) mod signals;
pub(crate) mod systemd;
