//! The servers of a Redis bus, and how to connect to them.

use std::collections::BTreeSet;
use std::sync::Arc;

use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, TlsCertificates, TlsMode,
};
use tokio::time::timeout;

use super::client::{TIMEOUT, connect};
use super::error::RedisError;
use super::log::Scripts;
use super::session::RedisSession;
use super::topology::{self, Topology};
use crate::backend::Backend;
use crate::error::BusError;
use crate::event::EventSender;
use crate::log::{Log, LogSupport};
use crate::url::Authority;

/// The servers of a Redis bus.
#[derive(Clone)]
pub(crate) enum Servers {
    /// A single server.
    Single(Arc<ConnectionInfo>),
    /// The master that Sentinels name.
    Sentinel(Arc<SentinelMaster>),
    /// A cluster, by the addresses of some of its servers.
    Cluster(Arc<[ConnectionInfo]>),
}

/// A master that Sentinels watch over.
pub(crate) struct SentinelMaster {
    pub(super) sentinels: Vec<ConnectionAddr>,
    pub(super) name: String,
    pub(super) login: RedisConnectionInfo,
    pub(super) sentinel_password: Option<String>,
    pub(super) is_tls: bool,
    pub(super) authority: Option<Authority>,
}

/// The certificates of connections that trust only this authority.
pub(super) fn certificates(authority: &Authority) -> TlsCertificates {
    TlsCertificates { client_tls: None, root_cert: Some(authority.pem.clone()) }
}

impl Backend for Servers {
    type Session = RedisSession;

    fn kind(&self) -> &'static str {
        match self {
            Self::Single(_) => "redis",
            Self::Sentinel(_) => "redis-sentinel",
            Self::Cluster(_) => "redis-cluster",
        }
    }

    async fn connect(&self, events: EventSender) -> Result<RedisSession, BusError> {
        RedisSession::connect(self.topology().await?, &events).await
    }

    async fn subjects(&self, pattern: &str) -> Result<Option<Vec<String>>, BusError> {
        let topology = self.topology().await?;
        // Each server of a cluster lists only its own.
        let list = if topology.is_sharded { "SHARDCHANNELS" } else { "CHANNELS" };
        let mut subjects = BTreeSet::new();
        for server in &topology.servers {
            let mut connection = connect(server, AsyncConnectionConfig::new()).await?;
            let request = redis::cmd("PUBSUB").arg(list).arg(pattern).to_owned();
            subjects.extend(request.query_async::<Vec<String>>(&mut connection).await?);
        }
        Ok(Some(subjects.into_iter().collect()))
    }

    async fn check_logs(&self, _log: &Log) -> Result<LogSupport, BusError> {
        let mut support = LogSupport::Kept;
        for server in &self.topology().await?.servers {
            let mut connection = connect(server, AsyncConnectionConfig::new()).await?;
            if let Err(error) = Scripts::load(&mut connection).await?.check_version() {
                return Ok(LogSupport::Missing(error));
            }
            // A user who may not ask has no logs either, which the entry of the caller shows.
            let request = redis::cmd("INFO").arg("memory").to_owned();
            let memory: Result<String, _> = request.query_async(&mut connection).await;
            if let Some(policy) = eviction(&memory.unwrap_or_default()) {
                support = LogSupport::Evicted { policy: policy.to_owned() };
            }
        }
        Ok(support)
    }
}

/// How a server makes room when its memory is full, if it removes keys. All keys of logs have a time to live.
fn eviction(memory: &str) -> Option<&str> {
    let value = |name: &str| memory.lines().find_map(|line| line.strip_prefix(name));
    let is_limited = value("maxmemory:").is_some_and(|bytes| bytes != "0");
    value("maxmemory_policy:").filter(|policy| is_limited && *policy != "noeviction")
}

impl Servers {
    async fn topology(&self) -> Result<Topology, BusError> {
        match self {
            Self::Single(server) => Ok(Topology::single(Client::open((**server).clone())?)),
            Self::Sentinel(master) => master.find().await.map(Topology::single),
            Self::Cluster(seeds) => {
                let mut errors = Vec::new();
                for seed in seeds.iter() {
                    match topology::of_cluster(seed).await {
                        Ok(topology) => return Ok(topology),
                        Err(error) => errors.push((seed.addr().to_string(), error)),
                    }
                }
                Err(RedisError::NoServer(errors).into())
            }
        }
    }
}

impl SentinelMaster {
    /// Asks the Sentinels for the current master.
    async fn find(&self) -> Result<Client, BusError> {
        let sentinels = self.sentinels.iter().cloned();
        let kind = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new(sentinels, &self.name, kind)?
            .set_client_to_redis_db(self.login.db())
            .set_client_to_redis_protocol(ProtocolVersion::RESP3);
        if let Some(user) = self.login.username() {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = self.login.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(password) = &self.sentinel_password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if let Some(authority) = &self.authority {
            builder = builder
                .set_client_to_redis_certificates(certificates(authority))
                .set_client_to_sentinel_certificates(certificates(authority));
        }
        if self.is_tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        let mut client = builder.build()?;
        let found = timeout(TIMEOUT * 2, client.async_get_client()).await;
        let master = found.map_err(|_| BusError::Timeout(TIMEOUT * 2))?;
        let no_master = |source| RedisError::NoMaster { master: self.name.clone(), source };
        Ok(master.map_err(no_master)?)
    }
}
