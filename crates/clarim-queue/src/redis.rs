//! Jobs in Redis. Each step is a Lua script, which Redis runs atomically.
//!
//! A job is a hash. Its id is in a sorted set of its queue, by the time at which it is due (while a worker
//! has reserved it: the end of the lease), and in the list of each of its order keys. A job is due only
//! when it is first in all of these lists.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, FromRedisValue, RedisResult, Script};
use tokio::sync::OnceCell;

use crate::error::Error;
use crate::future::BoxFuture;
use crate::storage::{FailedJob, Keep, NewJob, QueueSize, ReservedJob, Storage, millis};

/// A queue in Redis, in keys that begin with `{clarim-queue}:`. It connects on first use.
///
/// Jobs are as durable as Redis is configured to be: set `appendonly yes` to keep them over a restart, and
/// leave `maxmemory-policy` at its default, `noeviction`.
pub struct RedisStorage {
    url: String,
    connection: OnceCell<ConnectionManager>,
}

const PREFIX: &str = "{clarim-queue}:";

macro_rules! script {
    ($name:ident, $file:literal) => {
        static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(include_str!("redis/common.lua"), include_str!($file)))
        });
    };
}

script!(PUSH, "redis/push.lua");
script!(RESERVE, "redis/reserve.lua");
script!(POSTPONE, "redis/postpone.lua");
script!(FINISH, "redis/finish.lua");
script!(FAILED, "redis/failed.lua");
script!(FORGET, "redis/forget.lua");
script!(CLEAR, "redis/clear.lua");
script!(SIZES, "redis/sizes.lua");
script!(LOCK, "redis/lock.lua");
script!(EXTEND_LOCK, "redis/extend_lock.lua");
script!(UNLOCK, "redis/unlock.lua");

/// Adds a number to the counter of restarts, and returns it.
static RESTARTS: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('INCRBY', KEYS[1] .. 'restarts', ARGV[1])"));

impl RedisStorage {
    /// A queue on the server at a URL like `redis://127.0.0.1:6379/0`; `rediss://` uses TLS.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), connection: OnceCell::new() }
    }

    async fn connect(&self) -> RedisResult<ConnectionManager> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(Duration::from_secs(3)))
            .set_response_timeout(Some(Duration::from_secs(5)));
        let client = Client::open(self.url.as_str())?;
        client.get_connection_manager_with_config(config).await
    }

    fn run<'a, T: FromRedisValue + Send + 'a>(
        &'a self,
        script: &'static Script,
        args: Vec<Vec<u8>>,
    ) -> BoxFuture<'a, Result<T, Error>> {
        Box::pin(async move {
            let answer = async {
                let connection = self.connection.get_or_try_init(|| self.connect()).await?;
                let mut invocation = script.prepare_invoke();
                invocation.key(PREFIX);
                for arg in args {
                    invocation.arg(arg);
                }
                invocation.invoke_async(&mut connection.clone()).await
            };
            answer
                .await
                .map_err(|error: redis::RedisError| Error::storage_at("redis", &self.url, error))
        })
    }

    fn changed(
        &self,
        script: &'static Script,
        args: Vec<Vec<u8>>,
    ) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move { Ok(self.run::<u64>(script, args).await? > 0) })
    }
}

impl Storage for RedisStorage {
    fn push<'a>(&'a self, job: &'a NewJob) -> BoxFuture<'a, Result<bool, Error>> {
        let unique = job.unique.as_ref();
        let unique_key = unique.map_or("", |unique| &unique.key);
        let unique_time = match unique.map(|unique| unique.keep) {
            Some(Keep::First(time)) => time_of(time),
            Some(Keep::Latest) => "latest".to_owned(),
            None => String::new(),
        };
        let delay = time_of(job.delay);
        let mut args = arguments([&job.queue, &job.payload, &delay, unique_key, &unique_time]);
        args.extend(job.order_keys.iter().map(|key| key.as_bytes().to_vec()));
        self.changed(&PUSH, args)
    }

    fn reserve<'a>(
        &'a self,
        queue: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Option<ReservedJob>, Error>> {
        Box::pin(async move {
            let args = arguments([queue, &time_of(lease)]);
            let job: Option<(u64, u32, String, String)> = self.run(&RESERVE, args).await?;
            Ok(job.map(|(id, attempt, payload, unique)| ReservedJob {
                unique_key: (!unique.is_empty()).then_some(unique),
                ..ReservedJob::new(id, queue, payload, attempt)
            }))
        })
    }

    fn extend<'a>(
        &'a self,
        job: &'a ReservedJob,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        self.changed(&POSTPONE, owned(job, [&time_of(lease), ""]))
    }

    fn complete<'a>(&'a self, job: &'a ReservedJob) -> BoxFuture<'a, Result<bool, Error>> {
        self.changed(&FINISH, owned(job, []))
    }

    fn release<'a>(
        &'a self,
        job: &'a ReservedJob,
        payload: &'a str,
        after: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        self.changed(&POSTPONE, owned(job, [&time_of(after), payload]))
    }

    fn fail<'a>(
        &'a self,
        job: &'a ReservedJob,
        payload: &'a str,
        error: &'a str,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        self.changed(&FINISH, owned(job, [payload, error]))
    }

    fn failed(&self) -> BoxFuture<'_, Result<Vec<FailedJob>, Error>> {
        Box::pin(async move {
            let jobs: Vec<(u64, String, String, String, u64)> =
                self.run(&FAILED, Vec::new()).await?;
            let failed = |(id, queue, payload, error, failed_at)| {
                FailedJob::new(id, queue, payload, error, failed_at)
            };
            Ok(jobs.into_iter().map(failed).collect())
        })
    }

    fn forget(&self, id: u64) -> BoxFuture<'_, Result<bool, Error>> {
        self.changed(&FORGET, arguments([&text_of(id)]))
    }

    fn flush(&self) -> BoxFuture<'_, Result<u64, Error>> {
        self.run(&FORGET, Vec::new())
    }

    fn clear<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64, Error>> {
        self.run(&CLEAR, arguments([queue]))
    }

    fn request_restart(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.run::<u64>(&RESTARTS, arguments(["1"])).await.map(drop) })
    }

    fn restarts(&self) -> BoxFuture<'_, Result<u64, Error>> {
        self.run(&RESTARTS, arguments(["0"]))
    }

    fn sizes(&self) -> BoxFuture<'_, Result<Vec<QueueSize>, Error>> {
        Box::pin(async move {
            let sizes: Vec<(String, u64, u64, u64, i64)> = self.run(&SIZES, Vec::new()).await?;
            let mut sizes: Vec<QueueSize> = sizes
                .into_iter()
                .map(|(queue, waiting, later, running, age)| QueueSize {
                    oldest: u64::try_from(age).ok().map(Duration::from_millis),
                    ..QueueSize::new(queue, waiting, later, running)
                })
                .collect();
            sizes.sort_by(|a, b| a.queue.cmp(&b.queue));
            Ok(sizes)
        })
    }

    fn lock<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        self.changed(&LOCK, arguments([name, owner, &time_of(time)]))
    }

    fn extend_lock<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        self.changed(&EXTEND_LOCK, arguments([name, owner, &time_of(time)]))
    }

    fn unlock<'a>(&'a self, name: &'a str, owner: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.changed(&UNLOCK, arguments([name, owner])).await.map(drop) })
    }
}

/// Leaves out the URL, which may contain a password.
impl fmt::Debug for RedisStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStorage").finish_non_exhaustive()
    }
}

fn arguments<const N: usize>(texts: [&str; N]) -> Vec<Vec<u8>> {
    texts.into_iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The arguments that identify a reserved job, followed by `more`.
fn owned<const N: usize>(job: &ReservedJob, more: [&str; N]) -> Vec<Vec<u8>> {
    let mut args = arguments([&text_of(job.id), &job.attempt.to_string(), &job.queue]);
    args.extend(arguments(more));
    args
}

/// An id as the scripts write it.
fn text_of(id: u64) -> String {
    format!("{id:016}")
}

fn time_of(time: Duration) -> String {
    millis(time).to_string()
}
