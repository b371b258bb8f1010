//! The queue in memory. Its behaviour with broadcasts is tested in the crate `clarim`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clarim_queue::{BoxFuture, Error, Job, JobError, MemoryJob, MemoryQueue, Unique};

type Log = Arc<Mutex<Vec<&'static str>>>;

struct Logged {
    name: &'static str,
    log: Log,
}

impl Job for Logged {
    fn name(&self) -> &str {
        self.name
    }

    fn attempt(&mut self) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async {
            self.log.lock().unwrap().push(self.name);
            assert_ne!(self.name, "panics", "a bug");
            Ok(())
        })
    }

    fn retry_after(&self, attempt: u32) -> Option<Duration> {
        (attempt < 2).then_some(Duration::from_secs(1))
    }

    fn payload(&self) -> Result<String, JobError> {
        Ok(self.name.to_owned())
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_fails_the_job_and_the_queue_goes_on() {
    let queue = MemoryQueue::new();
    let log = Log::default();
    for name in ["panics", "good"] {
        queue.push(MemoryJob::new("default", Logged { name, log: log.clone() })).unwrap();
    }
    queue.idle().await;
    assert_eq!(*log.lock().unwrap(), ["panics", "good"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_fill_a_queue_to_its_limit() {
    let queue = Arc::new(MemoryQueue::new());
    let push = |_| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let accepted = (0..6_000).map(|_| {
                let job = Logged { name: "later", log: Log::default() };
                let mut job = MemoryJob::new("default", job);
                job.delay = Some(Duration::from_secs(3600));
                queue.push(job)
            });
            accepted.filter(Result::is_ok).count()
        })
    };
    let mut accepted = 0;
    for pushing in [1, 2].map(push) {
        accepted += pushing.await.unwrap();
    }
    assert_eq!(accepted, 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_jobs() {
    let queue = MemoryQueue::new();
    let log = Log::default();
    let push = |name| queue.push(MemoryJob::new("default", Logged { name, log: log.clone() }));
    for _ in 0..10_000 {
        push("waits").unwrap();
    }
    let error = push("one more").unwrap_err();
    assert!(matches!(error, Error::Full { limit: 10_000, .. }), "{error}");
    assert_eq!(error.code(), "queue_full");
    queue.idle().await;
    push("one more").unwrap();
}

/// Notes its number when its attempt begins, and takes this time.
struct Held {
    number: u32,
    begun: Arc<Mutex<Vec<u32>>>,
    time: Duration,
}

impl Job for Held {
    fn name(&self) -> &'static str {
        "held"
    }

    fn attempt(&mut self) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async {
            self.begun.lock().unwrap().push(self.number);
            tokio::time::sleep(self.time).await;
            Ok(())
        })
    }

    fn retry_after(&self, _: u32) -> Option<Duration> {
        None
    }

    fn payload(&self) -> Result<String, JobError> {
        Ok(String::new())
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_outlives_its_uniqueness_leaves_the_next_ones_alone() {
    let queue = MemoryQueue::new();
    let begun: Arc<Mutex<Vec<u32>>> = Arc::default();
    let push = |number, unique_for| {
        let time = Duration::from_millis(600);
        let mut job = MemoryJob::new("default", Held { number, begun: begun.clone(), time });
        job.unique = Some(Unique::new("stats", Duration::from_millis(unique_for)));
        queue.push(job).unwrap();
    };
    let pass = |milliseconds| tokio::time::sleep(Duration::from_millis(milliseconds));
    push(1, 300);
    pass(400).await;
    push(2, 5000);
    push(3, 5000);
    pass(300).await;
    // The first has ended. The second is still there.
    push(4, 5000);
    queue.idle().await;
    assert_eq!(*begun.lock().unwrap(), [1, 2]);
    push(5, 5000);
    queue.idle().await;
    assert_eq!(*begun.lock().unwrap(), [1, 2, 5], "the second has ended");
}

#[tokio::test(start_paused = true)]
async fn the_latest_of_identical_jobs_takes_the_place_of_a_waiting_one() {
    let queue = MemoryQueue::new();
    let begun: Arc<Mutex<Vec<u32>>> = Arc::default();
    let push = |number, delay| {
        let time = Duration::from_millis(600);
        let mut job = MemoryJob::new("default", Held { number, begun: begun.clone(), time });
        job.unique = Some(Unique::latest("stats"));
        job.delay = delay;
        queue.push(job).unwrap();
    };
    let second = Some(Duration::from_secs(1));
    for number in 1..=3 {
        push(number, second);
    }
    assert_eq!(queue.waiting(), 1);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(*begun.lock().unwrap(), [3]);
    // The third is running, so that the fourth waits, and the fifth replaces it.
    push(4, None);
    push(5, None);
    queue.idle().await;
    assert_eq!(*begun.lock().unwrap(), [3, 5]);
    push(6, None);
    queue.idle().await;
    assert_eq!(*begun.lock().unwrap(), [3, 5, 6]);
}
