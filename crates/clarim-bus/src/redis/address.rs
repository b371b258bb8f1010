//! The URLs of Redis.

use std::sync::Arc;

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisResult,
};

use super::servers::{SentinelMaster, Servers, certificates};
use crate::url::{Authority, InvalidBusUrl, Url};

/// The servers that a URL names.
pub(crate) fn servers_from_url(url: &Url<'_>) -> Result<Servers, InvalidBusUrl> {
    let is_tls = url.is_tls();
    let scheme = if is_tls { "rediss" } else { "redis" };
    let login = if url.login.is_empty() { String::new() } else { format!("{}@", url.login) };
    let is_sentinel = url.scheme.ends_with("sentinel");
    let database = url.parameter("db").unwrap_or(if is_sentinel { "" } else { url.path });
    // The library's error is dropped, because it may quote the password.
    let invalid = |_| InvalidBusUrl::InvalidRedis { scheme: scheme.to_owned() };
    let authority = url.authority()?;
    let servers = url.hosts.iter().map(|host| {
        let server = server(&format!("{scheme}://{login}{host}/{database}")).map_err(invalid)?;
        trusting(server, authority.as_ref())
    });
    let servers = servers.collect::<Result<Vec<_>, _>>()?;
    if url.scheme.ends_with("cluster") {
        return Ok(Servers::Cluster(servers.into()));
    }
    let Some(first) = servers.first() else {
        return Err(InvalidBusUrl::MissingHost { scheme: url.scheme.to_owned() });
    };
    if !is_sentinel {
        if servers.len() > 1 {
            return Err(InvalidBusUrl::SeveralHosts { scheme: scheme.to_owned() });
        }
        return Ok(Servers::Single(Arc::new(first.clone())));
    }
    if url.path.is_empty() {
        return Err(InvalidBusUrl::MissingMaster { scheme: scheme.to_owned() });
    }
    let sentinels = url.hosts.iter().map(|host| sentinel(host, is_tls));
    Ok(Servers::Sentinel(Arc::new(SentinelMaster {
        sentinels: sentinels.collect::<Result<_, _>>()?,
        name: url.path.to_owned(),
        login: first.redis_settings().clone(),
        sentinel_password: url.parameter("sentinel_password").map(str::to_owned),
        is_tls,
        authority,
    })))
}

/// Parses the URL of one server. RESP3 is the protocol that carries messages beside replies.
fn server(url: &str) -> RedisResult<ConnectionInfo> {
    let info = url.into_connection_info()?;
    let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(login))
}

/// The server, with connections that trust only this certificate authority if there is one.
fn trusting(
    server: ConnectionInfo,
    authority: Option<&Authority>,
) -> Result<ConnectionInfo, InvalidBusUrl> {
    let Some(authority) = authority else { return Ok(server) };
    let client = Client::build_with_tls(server, certificates(authority));
    let invalid = |_| InvalidBusUrl::InvalidAuthority { path: authority.path.clone() };
    Ok(client.map_err(invalid)?.get_connection_info().clone())
}

fn sentinel(host: &str, is_tls: bool) -> Result<ConnectionAddr, InvalidBusUrl> {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "26379"));
    let port = port
        .parse()
        .map_err(|source| InvalidBusUrl::InvalidPort { host: host.to_owned(), source })?;
    let host = name.trim_matches(['[', ']']).to_owned();
    Ok(if is_tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    })
}
