//! The client of a request.

pub(crate) mod guesses;

use std::net::IpAddr;
use std::sync::Arc;

use hyper::HeaderMap;

use crate::runtime::{HttpConnection, RequestInProgress, RequestPause, client_address};

/// The client of a request, as far as the server knows it. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client {
    /// The other end of the TCP connection, which may be a proxy's.
    pub(crate) peer: Option<IpAddr>,
    /// Absent if another HTTP server of this process has the connection.
    pub(crate) connection: Option<Arc<HttpConnection>>,
}

/// Headers by which a proxy names the client.
pub(in crate::http) const FORWARDED: [&str; 4] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// Whether a request has passed a proxy.
pub(crate) fn is_forwarded(headers: &HeaderMap) -> bool {
    FORWARDED.iter().any(|name| headers.contains_key(*name))
}

impl Client {
    /// The address for limits. A proxy adds the address that it sees to the end of `X-Forwarded-For`.
    pub(crate) fn address(&self, headers: &HeaderMap) -> Option<IpAddr> {
        client_address(self.peer, || {
            let list = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
            list.rsplit(',').next()?.trim().parse().ok()
        })
    }

    /// Begins a request, during which the connection is not closed in favour of others.
    pub(in crate::http) fn begin(&self) -> Option<RequestInProgress> {
        Some(self.connection.as_ref()?.begin())
    }

    /// Lets the connection be closed in favour of others until the returned value is dropped: it only waits
    /// for a body.
    pub(in crate::http) fn pause(&self) -> Option<RequestPause> {
        Some(self.connection.as_ref()?.pause())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(peer: &str, forwarded: &[&str]) -> Option<IpAddr> {
        let client = Client { peer: peer.parse().ok(), connection: None };
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        client.address(&headers)
    }

    #[test]
    fn only_a_proxy_in_a_private_network_names_the_client() {
        let is = |text: &str| Some(text.parse().unwrap());
        assert_eq!(address("1.1.1.1", &["2.2.2.2"]), is("1.1.1.1"));
        assert_eq!(address("10.0.0.1", &["3.3.3.3, 2.2.2.2"]), is("2.2.2.2"));
        assert_eq!(address("127.0.0.1", &["3.3.3.3", "2.2.2.2"]), is("2.2.2.2"));
        assert_eq!(address("127.0.0.1", &["unknown"]), is("127.0.0.1"));
        assert_eq!(address("127.0.0.1", &[]), is("127.0.0.1"));
        assert_eq!(address("::1", &["2606:4700::1"]), is("2606:4700::"));
        assert_eq!(address("", &[]), None);
    }
}
