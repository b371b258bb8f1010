//! Which servers there are, and which has what.

use std::collections::BTreeSet;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, RedisConnectionInfo, TlsMode, Value,
};

use super::PATIENCE;

/// Slots of a Redis Cluster.
const SLOTS: u16 = 16_384;

/// Where Redis is.
#[derive(Clone)]
pub(crate) enum Servers {
    /// One server.
    One(Arc<ConnectionInfo>),
    /// The master that Sentinels name.
    Watched(Arc<Watched>),
    /// A cluster, by some of its servers.
    Cluster(Arc<[ConnectionInfo]>),
}

/// A master by its name.
pub(crate) struct Watched {
    pub(crate) sentinels: Vec<ConnectionAddr>,
    pub(crate) master: String,
    pub(crate) login: RedisConnectionInfo,
    pub(crate) sentinel_password: Option<String>,
    pub(crate) is_tls: bool,
}

/// Servers, and which slots each has.
pub(super) struct Map {
    pub(super) servers: Vec<Client>,
    /// The first slot of each range, in order, and whose it is.
    ranges: Vec<(u16, usize)>,
    pub(super) is_sharded: bool,
}

impl Map {
    fn one(client: Client) -> Self {
        Self { servers: vec![client], ranges: vec![(0, 0)], is_sharded: false }
    }

    /// The server that has a subject.
    pub(super) fn of(&self, subject: &str) -> usize {
        if !self.is_sharded {
            return 0;
        }
        let slot = slot(subject.as_bytes());
        let at = self.ranges.partition_point(|(first, _)| *first <= slot);
        self.ranges.get(at.saturating_sub(1)).map_or(0, |(_, server)| *server)
    }
}

impl Servers {
    /// Finds out who has what.
    pub(super) async fn find(&self) -> Result<Map, String> {
        match self {
            Self::One(info) => Client::open((**info).clone()).map(Map::one).map_err(said),
            Self::Watched(watched) => watched.find().await,
            Self::Cluster(seeds) => {
                let mut reasons = Vec::new();
                for seed in seeds.iter() {
                    match map_of_cluster(seed).await {
                        Ok(map) => return Ok(map),
                        Err(reason) => reasons.push(format!("{}: {reason}", seed.addr())),
                    }
                }
                Err(reasons.join("; "))
            }
        }
    }
}

impl Servers {
    /// The subjects that somebody listens to and that fit a pattern. In a cluster each server knows its own.
    pub(crate) async fn listened(&self, pattern: &str) -> Result<Vec<String>, String> {
        let map = self.find().await?;
        let what = if map.is_sharded { "SHARDCHANNELS" } else { "CHANNELS" };
        let mut found = BTreeSet::new();
        for server in &map.servers {
            let mut connection = connect(server, AsyncConnectionConfig::new()).await?;
            let ask = redis::cmd("PUBSUB").arg(what).arg(pattern).to_owned();
            let subjects: Vec<String> = ask.query_async(&mut connection).await.map_err(said)?;
            found.extend(subjects);
        }
        Ok(found.into_iter().collect())
    }
}

impl Watched {
    async fn find(&self) -> Result<Map, String> {
        let sentinels = self.sentinels.iter().cloned();
        let kind = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new(sentinels, &self.master, kind)
            .map_err(said)?
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
        if self.is_tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        let mut client = builder.build().map_err(said)?;
        let found = tokio::time::timeout(PATIENCE * 2, client.async_get_client()).await;
        let master = found.map_err(|_| "the Sentinels do not answer".to_owned())?;
        master.map(Map::one).map_err(|error| format!("the Sentinels know no master: {error}"))
    }
}

/// Asks one server of a cluster for the whole of it.
async fn map_of_cluster(seed: &ConnectionInfo) -> Result<Map, String> {
    let client = Client::open(seed.clone()).map_err(said)?;
    let mut connection = connect(&client, AsyncConnectionConfig::new()).await?;
    let ask = redis::cmd("CLUSTER").arg("SLOTS").to_owned();
    let answer: Vec<(u16, u16, Vec<Value>)> = match ask.query_async(&mut connection).await {
        Ok(Value::Array(ranges)) => ranges.into_iter().filter_map(range).collect(),
        Ok(_) => return Err("the answer to CLUSTER SLOTS is none".to_owned()),
        Err(error) => return Err(said(error)),
    };
    let mut map = Map { servers: Vec::new(), ranges: Vec::new(), is_sharded: true };
    let mut addresses: Vec<(String, u16)> = Vec::new();
    let mut covered = 0;
    for (first, last, master) in answer {
        covered += u32::from(last.saturating_sub(first)) + 1;
        let address = address(&master, seed).ok_or("CLUSTER SLOTS names no master")?;
        let at = addresses.iter().position(|known| *known == address).unwrap_or_else(|| {
            addresses.push(address);
            addresses.len() - 1
        });
        map.ranges.push((first, at));
    }
    if covered < u32::from(SLOTS) {
        return Err(format!("only {covered} of {SLOTS} slots are served"));
    }
    map.ranges.sort_unstable();
    for (host, port) in addresses {
        let addr = match seed.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host, port),
        };
        let info = seed.clone().set_addr(addr);
        map.servers.push(Client::open(info).map_err(said)?);
    }
    Ok(map)
}

/// One line of CLUSTER SLOTS: first and last slot, and the master.
fn range(value: Value) -> Option<(u16, u16, Vec<Value>)> {
    let Value::Array(fields) = value else { return None };
    let mut fields = fields.into_iter();
    let number = |value: Option<Value>| match value {
        Some(Value::Int(number)) => u16::try_from(number).ok(),
        _ => None,
    };
    let (first, last) = (number(fields.next())?, number(fields.next())?);
    let Some(Value::Array(master)) = fields.next() else { return None };
    Some((first, last, master))
}

/// The address of a master; a server that does not know its own is where it was asked.
fn address(master: &[Value], seed: &ConnectionInfo) -> Option<(String, u16)> {
    let port = match master.get(1)? {
        Value::Int(port) => u16::try_from(*port).ok()?,
        _ => return None,
    };
    let host = match master.first()? {
        Value::BulkString(host) => String::from_utf8_lossy(host).into_owned(),
        Value::SimpleString(host) => host.clone(),
        _ => String::new(),
    };
    if !host.is_empty() && host != "?" {
        return Some((host, port));
    }
    match seed.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => {
            Some((host.clone(), port))
        }
        _ => None,
    }
}

/// The slot of a key: of what stands between its first braces, if anything does.
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&b| b == b'{').and_then(|open| {
        let inside = &key[open + 1..];
        let close = inside.iter().position(|&b| b == b'}')?;
        (close > 0).then(|| &inside[..close])
    });
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key)) % SLOTS
}

/// A connection to a server.
pub(super) async fn connect(
    client: &Client,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, String> {
    let config = config
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE))
        .set_pipeline_buffer_size(1024)
        .set_write_backpressure_boundary(256 << 10);
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(said)
}

/// An error in words; the library's own hold no secret.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn said(error: redis::RedisError) -> String {
    error.to_string()
}

/// Reads a URL as the library does, and speaks the version of the protocol that carries messages beside
/// answers.
pub(crate) fn info(url: &str) -> Result<ConnectionInfo, String> {
    let info = url.into_connection_info().map_err(said)?;
    let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(login))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        for (key, expected) in
            [("123456789", 12_739), ("foo", 12_182), ("{user1000}.following", 3_443)]
        {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), slot(b"foo{}{bar}"));
    }
}
