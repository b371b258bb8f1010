//! Connections of queues.

use std::fmt;
use std::sync::Arc;

use clarim_queue::Storage;

use crate::error::Error;
use crate::variables::Variables;

/// The queue's connection: the values of `QUEUE_CONNECTION`. The debug output hides the URLs, which may
/// contain passwords.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueConnection {
    /// `memory`: in this process, which runs the jobs itself.
    #[default]
    Memory,
    /// `sqlite`: in the file at this URL. Needs the feature `sqlite`.
    #[cfg(feature = "sqlite")]
    Sqlite(String),
    /// `postgres`: in the database at this URL. Needs the feature `postgres`.
    #[cfg(feature = "postgres")]
    Postgres(String),
    /// `redis`: on the server at this URL. Needs the feature `redis`.
    #[cfg(feature = "redis")]
    Redis(String),
}

impl QueueConnection {
    /// The storage, if jobs are stored. It connects on first use.
    #[must_use]
    pub fn storage(&self) -> Option<Arc<dyn Storage>> {
        match self {
            Self::Memory => None,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(url) => {
                use super::publish_sql::{NAME, VERSION, sqlite};
                let storage = clarim_queue::SqlStorage::sqlite(url);
                Some(Arc::new(storage.with_objects(NAME, VERSION, sqlite())))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => {
                use super::publish_sql::{NAME, VERSION, postgres};
                let storage = clarim_queue::SqlStorage::postgres(url);
                Some(Arc::new(storage.with_objects(NAME, VERSION, postgres())))
            }
            #[cfg(feature = "redis")]
            Self::Redis(url) => Some(Arc::new(clarim_queue::RedisStorage::new(url))),
        }
    }

    pub(crate) fn read(variables: &Variables<'_>) -> Result<Self, Error> {
        let Some((name, typed)) = variables.find("QUEUE_CONNECTION") else {
            return Ok(Self::Memory);
        };
        match typed.as_str() {
            "memory" => Ok(Self::Memory),
            #[cfg(feature = "sqlite")]
            "sqlite" => {
                let default = Some("sqlite:queue.sqlite");
                variables.url(&["DATABASE_URL", "DB_URL"], &["sqlite:"], default).map(Self::Sqlite)
            }
            #[cfg(feature = "postgres")]
            "postgres" | "pgsql" => variables
                .url(&["DATABASE_URL", "DB_URL"], &["postgres:", "postgresql:"], None)
                .map(Self::Postgres),
            #[cfg(feature = "redis")]
            "redis" => {
                let (name, url) = crate::redis_url::read(variables)?;
                if !["redis:", "rediss:"].iter().any(|scheme| url.starts_with(scheme)) {
                    let problem = "for this QUEUE_CONNECTION it must begin with redis: or rediss:";
                    return Err(Error::setting(name, problem));
                }
                Ok(Self::Redis(url))
            }
            known if ["sqlite", "postgres", "pgsql", "redis"].contains(&known) => {
                let feature = if known == "pgsql" { "postgres" } else { known };
                let problem = format!("{known} needs the feature `{feature}` of the crate clarim");
                Err(Error::setting(name, problem))
            }
            "database" => {
                let problem = "\"database\" does not say which database; write sqlite or postgres, with DATABASE_URL";
                Err(Error::setting(name, problem))
            }
            "sync" => {
                let problem = "\"sync\" is not a queue here; write memory, and broadcast with .now() or #[broadcast(now)]";
                Err(Error::setting(name, problem))
            }
            other => {
                let problem =
                    format!("{other:?} is unknown; expected memory, sqlite, postgres or redis");
                Err(Error::setting(name, problem))
            }
        }
    }
}

impl fmt::Debug for QueueConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "Memory",
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => "Sqlite",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "Postgres",
            #[cfg(feature = "redis")]
            Self::Redis(_) => "Redis",
        })
    }
}
