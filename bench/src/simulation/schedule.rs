//! Actions at fixed times, each with a rate of its own.

use std::time::Duration;

/// The times of several actions, merged.
#[derive(Debug)]
pub(crate) struct Schedule {
    end: Duration,
    /// Of each action: rate per second, and how often it was due so far.
    rates: Vec<(f64, u64)>,
}

impl Schedule {
    pub(crate) fn new(seconds: u32, rates: &[f64]) -> Self {
        let end = Duration::from_secs(u64::from(seconds));
        Self { end, rates: rates.iter().map(|rate| (*rate, 0)).collect() }
    }
}

impl Iterator for Schedule {
    /// The index of the action, and when it is due.
    type Item = (usize, Duration);

    fn next(&mut self) -> Option<Self::Item> {
        let due = |(rate, count): &(f64, u64)| (*rate > 0.0).then(|| *count as f64 / *rate);
        let all = self.rates.iter().enumerate().filter_map(|(n, beat)| Some((n, due(beat)?)));
        let (n, seconds) = all.min_by(|a, b| a.1.total_cmp(&b.1))?;
        let due = Duration::from_secs_f64(seconds);
        self.rates[n].1 += 1;
        (due < self.end).then_some((n, due))
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn each_action_keeps_its_rate() {
        let all: Vec<_> = Schedule::new(2, &[3.0, 0.0, 2.0]).collect();
        assert_eq!(all.iter().filter(|(n, _)| *n == 0).count(), 6);
        assert_eq!(all.iter().filter(|(n, _)| *n == 2).count(), 4);
        assert_eq!(all.len(), 10);
        assert!(all.is_sorted_by_key(|(_, due)| *due));
    }
}
