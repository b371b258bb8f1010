//! Some subscribers stop reading. The others must not notice.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use super::beats::Beats;
use crate::fanout::CHANNEL;
use crate::frames::MIN_SIZE;
use crate::report::{Pace, Report, Start};
use crate::server::{Server, Target};
use crate::stage::{Stage, Ticket};

/// What the kernel keeps for one that does not read: little, so that the server notices soon.
pub(super) const RECEIVE_BUFFER: usize = 4_096;

/// The load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Slow {
    #[arg(long, default_value_t = 1_000)]
    pub(crate) subscribers: usize,
    /// How many of a hundred stop reading.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) percent: f64,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 4_096)]
    pub(crate) size: usize,
    /// Events per second.
    #[arg(long, default_value_t = 20)]
    pub(crate) rate: u32,
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u32,
}

impl Slow {
    pub(super) fn run(&self, server: &Server) -> Result<Report> {
        let (mut stage, slow) = self.connect(&server.target)?;
        let before = super::settled_memory(server, &mut stage)?;
        let mut peak = before;
        let start = Start::now(server)?;
        self.publish(&mut stage, || {
            peak = peak.max(server.memory()?);
            Ok(())
        })?;
        let phase = start.phase(server)?;
        let mut report = phase.judge(stage.verdict()?, Pace::Open)?;
        report.set("CPU per delivery, µs", phase.each(stage.counts.delivered));
        report.set_latency(&stage);
        report.set("growth of memory, at most, KiB", (peak - before) as f64 / 1024.0);
        for (fate, count) in fates(&mut stage, &slow)? {
            report.set(&format!("slow readers {fate}"), count);
        }
        Ok(report)
    }

    /// The slow ones stand among the others, and read until all are in.
    pub(crate) fn connect(&self, target: &Target) -> Result<(Stage, Vec<Ticket>)> {
        ensure!(self.subscribers > 0, "at least one subscriber is needed");
        ensure!((0.0..100.0).contains(&self.percent), "some must go on reading");
        ensure!(self.size >= MIN_SIZE, "an event needs {MIN_SIZE} bytes at least");
        let mut stage = Stage::new(target, 1, 1, self.size)?;
        let mut slow = Vec::new();
        for n in 0..self.subscribers {
            stage.until(|c| n as u64 - c.joined < 100)?;
            let is_slow = is_slow(n, self.percent);
            let ticket = stage.open(is_slow.then_some(RECEIVE_BUFFER))?;
            stage.join(ticket, CHANNEL.to_owned(), None, vec![0])?;
            slow.extend(is_slow.then_some(ticket));
        }
        stage.until(|c| c.joined == self.subscribers as u64)?;
        for ticket in &slow {
            stage.stall(*ticket);
        }
        Ok((stage, slow))
    }

    /// Publishes by the clock, and calls `each_second`.
    pub(crate) fn publish(
        &self,
        stage: &mut Stage,
        mut each_second: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        stage.restart();
        let mut second = Duration::from_secs(1);
        for (_, due) in Beats::new(self.seconds, &[f64::from(self.rate)]) {
            stage.wait_until(due)?;
            stage.publish(0, CHANNEL, due)?;
            if due >= second {
                each_second()?;
                second += Duration::from_secs(1);
            }
        }
        stage.settle()?;
        each_second()
    }
}

/// Whether subscriber `n` is one of those, evenly spread.
pub(super) fn is_slow(n: usize, percent: f64) -> bool {
    let before = |n: usize| (n as f64 * percent / 100.0).floor();
    before(n + 1) > before(n)
}

/// What became of those that did not read.
pub(crate) fn fates(stage: &mut Stage, slow: &[Ticket]) -> Result<BTreeMap<String, f64>> {
    let mut fates = BTreeMap::new();
    for ticket in slow {
        let fate = match stage.fate(*ticket)? {
            None => "still open".to_owned(),
            Some(None) => "cut off".to_owned(),
            Some(Some(code)) => format!("closed with {code}"),
        };
        *fates.entry(fate).or_default() += 1.0;
    }
    Ok(fates)
}
