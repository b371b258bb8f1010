//! CPU time and memory of processes, from /proc.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Ticks per second in /proc/PID/stat, on every architecture that Linux supports.
const TICKS_PER_SECOND: u64 = 100;
/// Rounding difference between the two sources.
const ROUNDING: Duration = Duration::from_millis(20);

/// A process's CPU time so far.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// Nanoseconds of each running thread: on a core, and waiting for one.
    threads: BTreeMap<String, (u64, u64)>,
    /// Of all threads, including those that have ended, in ticks.
    total: Duration,
}

/// CPU time between two readings.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) on_core: Duration,
    /// Time ready to run, while another process had the core.
    pub(crate) waiting: Duration,
}

impl Clock {
    pub(crate) fn of(process: &str) -> Result<Self> {
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let thread = thread?;
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let mut numbers = text.split_ascii_whitespace().map(str::parse);
            let mut next = || numbers.next().context("schedstat")?.context("schedstat");
            let name = thread.file_name().to_string_lossy().into_owned();
            threads.insert(name, (next()?, next()?));
        }
        Ok(Self { threads, total: total(process)? })
    }

    pub(crate) fn since(&self, before: &Self) -> Usage {
        let mut usage = Usage::default();
        for (name, now) in &self.threads {
            let then = before.threads.get(name).copied().unwrap_or_default();
            usage.on_core += Duration::from_nanos(now.0.saturating_sub(then.0));
            usage.waiting += Duration::from_nanos(now.1.saturating_sub(then.1));
        }
        // Only the coarse total still includes threads that have ended.
        let total = self.total.saturating_sub(before.total);
        if total > usage.on_core.mul_f64(1.05) + ROUNDING {
            usage.on_core = total;
        }
        usage
    }
}

fn total(process: &str) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The program's name is in parentheses and may contain anything.
    let (_, fields) = text.rsplit_once(')').context("stat")?;
    let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let mut next = || times.next().context("stat")?.context("stat");
    let ticks = next()? + next()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Bytes of resident memory. The kernel's exact sum over all pages, where it has one.
pub(crate) fn memory(process: u32) -> Result<u64> {
    of_kernel(process, "Rss:", "VmRSS:")
}

/// Bytes of resident memory without the pages of files, such as the program's code.
pub(crate) fn anonymous_memory(process: u32) -> Result<u64> {
    of_kernel(process, "Anonymous:", "RssAnon:")
}

/// A size that the kernel knows exactly by the first name, where it does, and otherwise by the second.
fn of_kernel(process: u32, exact: &str, status: &str) -> Result<u64> {
    let (text, name) = match fs::read_to_string(format!("/proc/{process}/smaps_rollup")) {
        Ok(text) => (text, exact),
        Err(_) => (fs::read_to_string(format!("/proc/{process}/status"))?, status),
    };
    let kilobytes =
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB"));
    Ok(kilobytes.context("/proc has no resident size of the process")?.trim().parse::<u64>()?
        * 1024)
}

/// Pins this thread, and what it starts, to one core.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| {
        format!("cannot pin to core {core}; choose others with --server-core and --client-core")
    })
}
