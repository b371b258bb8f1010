//! Subscriptions and sign-ins that need an authorizer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::authorizer::{Authorization, BoxFuture, UserAuthorization};
use crate::error::Error;
use crate::options::Options;
use crate::topic::Topic;

/// An authorizer's answer, with the connection that it is for.
pub(super) struct Authorized {
    pub(super) socket_id: String,
    /// Number of failures before.
    pub(super) failures: usize,
    pub(super) answer: Answer,
}

pub(super) enum Answer {
    Channel(Arc<Topic>, Result<Authorization, Error>),
    User(Result<UserAuthorization, Error>),
}

/// Asks the authorizer about a channel, after a pause if it has failed.
pub(super) fn ask_for_channel(
    options: &Options,
    socket_id: String,
    topic: Arc<Topic>,
    failures: usize,
) -> BoxFuture<'static, Authorized> {
    let Options { authorizer, authorization_timeout: limit, .. } = options.clone();
    let pause = pause_after(options, failures);
    Box::pin(async move {
        let asked = async {
            let authorizer = required(authorizer.as_ref(), &topic.name)?;
            authorizer.channel(&socket_id, &topic.name).await
        };
        let answer = answer_after(pause, limit, &topic.name, asked).await;
        Authorized { socket_id, failures, answer: Answer::Channel(topic, answer) }
    })
}

/// Asks the authorizer about the user, after a pause if it has failed.
pub(super) fn ask_for_user(
    options: &Options,
    socket_id: String,
    failures: usize,
) -> BoxFuture<'static, Authorized> {
    let Options { authorizer, authorization_timeout: limit, .. } = options.clone();
    let pause = pause_after(options, failures);
    Box::pin(async move {
        let asked = async { required(authorizer.as_ref(), "the user")?.user(&socket_id).await };
        let answer = answer_after(pause, limit, "the user", asked).await;
        Authorized { socket_id, failures, answer: Answer::User(answer) }
    })
}

fn required<A>(authorizer: Option<A>, subject: &str) -> Result<A, Error> {
    authorizer.ok_or_else(|| Error::authorization(subject, "set Options::authorizer"))
}

/// Waits for the pause, then for the answer, which has a limit.
async fn answer_after<T>(
    pause: Duration,
    limit: Duration,
    subject: &str,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    sleep(pause).await;
    let late = || Error::unavailable(subject, format!("no answer within {limit:?}"));
    timeout(limit, asked).await.unwrap_or_else(|_| Err(late()))
}

fn pause_after(options: &Options, failures: usize) -> Duration {
    match failures {
        0 => Duration::ZERO,
        _ => options.timing.delay(failures),
    }
}
