//! Tasks of a schedule.

use std::fmt;
use std::sync::Arc;

use clarim_queue::BoxFuture;

use super::when::When;
use super::window::Window;

/// The error of a task.
pub(crate) type TaskError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) type Work = Arc<dyn Fn() -> BoxFuture<'static, Result<(), TaskError>> + Send + Sync>;

pub(crate) type Condition = Arc<dyn Fn() -> bool + Send + Sync>;

/// A closure and the times at which it runs.
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) when: Option<When>,
    pub(crate) window: Window,
    /// The task runs if all of them are true.
    pub(crate) conditions: Vec<Condition>,
    pub(crate) without_overlapping: bool,
    pub(crate) on_one_node: bool,
    pub(crate) work: Work,
}

/// The output of a task: `()`, or a `Result<(), _>`.
pub trait Outcome {
    /// The error, for the log.
    ///
    /// # Errors
    /// Returns the task's error.
    fn outcome(self) -> Result<(), TaskError>;
}

impl Outcome for () {
    fn outcome(self) -> Result<(), TaskError> {
        Ok(())
    }
}

impl<E: fmt::Display> Outcome for Result<(), E> {
    fn outcome(self) -> Result<(), TaskError> {
        self.map_err(|error| error.to_string().into())
    }
}
