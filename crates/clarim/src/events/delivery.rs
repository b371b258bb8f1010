//! Delivery of events.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How an event is delivered: at once or through a queue, and how a queue retries it.
///
/// ```
/// use std::time::Duration;
/// use clarim::Delivery;
///
/// let delivery = Delivery::queued().queue("high").tries(3).timeout(Duration::from_secs(10));
/// assert_eq!(delivery.delay_before(2), Duration::from_secs(1));
/// assert_eq!(delivery.delay_before(9), Duration::from_secs(10));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Delivery {
    /// Whether the event bypasses the queue and is sent before `broadcast(…).await` returns.
    pub now: bool,
    /// The queue's name; `None` is the default queue.
    pub queue: Option<String>,
    /// The name of the queue's connection; `None` is the default connection.
    pub connection: Option<String>,
    /// Maximum number of attempts while errors are temporary; `0` is unlimited, `None` the worker's number.
    /// After the last one, the job is among the failed jobs, and no longer holds up its channels.
    pub tries: Option<u32>,
    /// Delays before each further attempt; the last one repeats. `None` is the worker's delays.
    // Older versions can't read `null` here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Vec<Duration>>,
    /// Timeout for one attempt; `None` is the worker's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Delay before the first attempt. A delayed event keeps no order: it comes after events that were queued
    /// in the meantime, on its own channels too.
    pub delay: Option<Duration>,
    /// Maximum time for which an identical event is dropped while this one waits.
    pub unique_for: Option<Duration>,
    /// Whether an identical event replaces the waiting one, which keeps its place.
    pub unique_latest: bool,
    /// The key that makes events of one name identical; `None` uses the channels.
    pub unique_by: Option<String>,
}

impl Delivery {
    /// The default number of attempts. With the default delays, they take a quarter of an hour.
    pub const TRIES: u32 = 100;

    /// The default delays before further attempts.
    const BACKOFF: [Duration; 3] =
        [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(10)];

    /// The default timeout for one attempt.
    const TIMEOUT: Duration = Duration::from_secs(60);

    /// Delivery through the default queue. Unless the worker has other settings, it is retried after 1, 5,
    /// 10, 10, … seconds, at most 99 times, with a timeout of one minute.
    #[must_use]
    pub fn queued() -> Self {
        Self::default()
    }

    /// Delivery at once, without a queue.
    #[must_use]
    pub fn now() -> Self {
        Self { now: true, ..Self::default() }
    }

    /// Sets the queue.
    #[must_use]
    pub fn queue(self, name: impl Into<String>) -> Self {
        Self { queue: Some(name.into()), ..self }
    }

    /// Sets the queue's connection.
    #[must_use]
    pub fn connection(self, name: impl Into<String>) -> Self {
        Self { connection: Some(name.into()), ..self }
    }

    /// Sets the maximum number of attempts; `0` is unlimited.
    #[must_use]
    pub fn tries(self, tries: u32) -> Self {
        Self { tries: Some(tries), ..self }
    }

    /// Removes the limit of attempts. While the errors are temporary, the job holds up its channels.
    #[must_use]
    pub fn unlimited_tries(self) -> Self {
        Self { tries: Some(0), ..self }
    }

    /// Sets the delays before each further attempt; the last one repeats.
    #[must_use]
    pub fn backoff(self, delays: impl Into<Vec<Duration>>) -> Self {
        Self { backoff: Some(delays.into()), ..self }
    }

    /// Sets the timeout for one attempt.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Sets the delay before the first attempt.
    #[must_use]
    pub fn delay(self, time: Duration) -> Self {
        Self { delay: Some(time), ..self }
    }

    /// Drops identical events for at most this time while one waits.
    #[must_use]
    pub fn unique_for(self, time: Duration) -> Self {
        Self { unique_for: Some(time), ..self }
    }

    /// Replaces the waiting event with an identical one, so that the last payload is sent. With a
    /// [`delay`](Self::delay), the events of that time become one (*debouncing*).
    ///
    /// ```
    /// use std::time::Duration;
    /// use clarim::{Clarim, Delivery};
    ///
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let (clarim, _) = Clarim::fake();
    /// let debounced = Delivery::queued().delay(Duration::from_secs(1)).unique_latest();
    /// for visitors in 1..=100 {
    ///     let event = clarim.on("stats").name("visitors").with(visitors);
    ///     event.delivery(debounced.clone()).send().await?;
    /// }
    /// // A second after the first event, 100 is sent.
    /// # Ok::<(), clarim::Error>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn unique_latest(self) -> Self {
        Self { unique_latest: true, ..self }
    }

    /// Sets the key that makes events of one name identical.
    #[must_use]
    pub fn unique_by(self, id: impl Into<String>) -> Self {
        Self { unique_by: Some(id.into()), ..self }
    }

    /// The delay before an attempt. The first attempt, number 1, has none.
    #[must_use]
    pub fn delay_before(&self, attempt: u32) -> Duration {
        let Some(place) = attempt.checked_sub(2) else { return Duration::ZERO };
        let delays = self.backoff.as_deref().unwrap_or(&Self::BACKOFF);
        let delay = delays.get(place as usize).or_else(|| delays.last());
        delay.copied().unwrap_or_default()
    }

    /// This delivery with the worker's tries, delays and timeout where it has none of its own.
    pub(crate) fn on_worker(self, worker: &Self) -> Self {
        Self {
            tries: self.tries.or(worker.tries),
            backoff: self.backoff.or_else(|| worker.backoff.clone()),
            timeout: self.timeout.or(worker.timeout),
            ..self
        }
    }

    /// Whether this attempt is the last one.
    pub(crate) fn is_last(&self, attempt: u32) -> bool {
        match self.tries.unwrap_or(Self::TRIES) {
            0 => false,
            tries => attempt >= tries,
        }
    }

    pub(crate) fn attempt_timeout(&self) -> Duration {
        self.timeout.unwrap_or(Self::TIMEOUT)
    }

    /// The name of the queue, `default` if none is set.
    pub(crate) fn queue_name(&self) -> &str {
        self.queue.as_deref().unwrap_or("default")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_delay_repeats() {
        let delivery = Delivery::queued().backoff([1, 7].map(Duration::from_secs));
        let delays = [0, 1, 2, 3, 4, 99].map(|attempt| delivery.delay_before(attempt).as_secs());
        assert_eq!(delays, [0, 0, 1, 7, 7, 7]);
        assert_eq!(Delivery::queued().backoff([]).delay_before(5), Duration::ZERO);
    }

    #[test]
    fn an_events_own_settings_win_over_the_workers() {
        let seconds = Duration::from_secs;
        let worker = Delivery::queued().tries(2).backoff([seconds(3)]).timeout(seconds(4));
        let event = Delivery::queued().on_worker(&worker);
        assert!(!event.is_last(1) && event.is_last(2));
        assert_eq!(event.delay_before(2), seconds(3));
        assert_eq!(event.attempt_timeout(), seconds(4));
        let own = Delivery::queued().unlimited_tries().backoff([seconds(7)]).timeout(seconds(8));
        assert_eq!(own.clone().on_worker(&worker), own);
        assert!(!own.is_last(1_000_000));
        let default = Delivery::queued().on_worker(&Delivery::queued());
        assert!(!default.is_last(99) && default.is_last(100));
        assert_eq!(default.attempt_timeout(), seconds(60));
    }

    #[test]
    fn a_delivery_stored_by_an_older_version_can_be_read() {
        let delivery: Delivery = serde_json::from_str(r#"{"queue":"high"}"#).unwrap();
        assert_eq!(delivery, Delivery::queued().queue("high"));
    }
}
