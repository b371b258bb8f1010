//! Which server has which slots.

use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, Value};

use super::client::connect;
use super::error::RedisError;
use crate::error::BusError;

/// Number of slots of a Redis Cluster.
const SLOTS: u16 = 16_384;

/// The servers of a bus, and the slots that each one has.
pub(super) struct Topology {
    pub(super) servers: Vec<Client>,
    /// First slot and server of each range, in order.
    ranges: Vec<(u16, usize)>,
    /// Whether messages are published by slot, with sharded pub/sub.
    pub(super) is_sharded: bool,
}

impl Topology {
    /// A single server, without slots.
    pub(super) fn single(server: Client) -> Self {
        Self { servers: vec![server], ranges: vec![(0, 0)], is_sharded: false }
    }

    /// The index of the server that has a subject.
    pub(super) fn server_of(&self, subject: &str) -> usize {
        if !self.is_sharded {
            return 0;
        }
        let slot = slot(subject.as_bytes());
        let at = self.ranges.partition_point(|(first, _)| *first <= slot);
        self.ranges.get(at.saturating_sub(1)).map_or(0, |(_, server)| *server)
    }
}

/// Asks one server of a cluster for the whole topology.
pub(super) async fn of_cluster(seed: &ConnectionInfo) -> Result<Topology, BusError> {
    let client = Client::open(seed.clone())?;
    let mut connection = connect(&client, AsyncConnectionConfig::new()).await?;
    let request = redis::cmd("CLUSTER").arg("SLOTS").to_owned();
    let Value::Array(reply) = request.query_async(&mut connection).await? else {
        return Err(RedisError::InvalidTopology.into());
    };
    let mut topology = Topology { servers: Vec::new(), ranges: Vec::new(), is_sharded: true };
    let mut addresses: Vec<(String, u16)> = Vec::new();
    let mut served = 0;
    for (first, last, master) in reply.into_iter().filter_map(range) {
        served += u32::from(last.saturating_sub(first)) + 1;
        let address = address(&master, seed).ok_or(RedisError::InvalidTopology)?;
        let at = addresses.iter().position(|known| *known == address).unwrap_or_else(|| {
            addresses.push(address);
            addresses.len() - 1
        });
        topology.ranges.push((first, at));
    }
    if served < u32::from(SLOTS) {
        return Err(RedisError::SlotsMissing { served, total: SLOTS }.into());
    }
    topology.ranges.sort_unstable();
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
        topology.servers.push(Client::open(seed.clone().set_addr(addr))?);
    }
    Ok(topology)
}

/// One range of CLUSTER SLOTS: its first and last slot, and the fields of its master.
fn range(value: Value) -> Option<(u16, u16, Vec<Value>)> {
    let Value::Array(fields) = value else { return None };
    let mut fields = fields.into_iter();
    let number = |value: Option<Value>| match value {
        Some(Value::Int(number)) => u16::try_from(number).ok(),
        _ => None,
    };
    let first = number(fields.next())?;
    let last = number(fields.next())?;
    let Some(Value::Array(master)) = fields.next() else { return None };
    Some((first, last, master))
}

/// The address of a master. It is the seed's host if the server does not know its own.
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

/// The slot of a key. Only its hash tag counts, the text between its first braces, if it has one.
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&b| b == b'{').and_then(|open| {
        let inside = &key[open + 1..];
        let close = inside.iter().position(|&b| b == b'}')?;
        (close > 0).then(|| &inside[..close])
    });
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key)) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_match_those_of_redis() {
        for (key, expected) in
            [("123456789", 12_739), ("foo", 12_182), ("{user1000}.following", 3_443)]
        {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), slot(b"foo{}{bar}"));
    }
}
