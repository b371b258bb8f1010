//! One attempt at a job.

use std::time::Duration;

use crate::error::JobError;
use crate::future::catch_panic;
use crate::job::Job;

/// The result of an attempt.
pub(crate) enum Outcome {
    Done,
    Retry { error: JobError, after: Duration },
    Failed { error: JobError },
}

/// Makes attempt number `number`. From attempt `last_panic` on, a panic is permanent: a bug seldom passes,
/// and the job holds up others.
pub(crate) async fn attempt(job: &mut dyn Job, number: u32, last_panic: u32) -> Outcome {
    let attempted = catch_panic(async { job.attempt().await }).await;
    let panicked = if number < last_panic { JobError::temporary } else { JobError::permanent };
    let result = attempted.unwrap_or_else(|panic| Err(panicked(format!("the job {panic}"))));
    let Err(error) = result else { return Outcome::Done };
    match job.retry_after(number) {
        Some(after) if error.is_temporary() => Outcome::Retry { error, after },
        _ => Outcome::Failed { error },
    }
}
