//! The HTTP client for outgoing requests: webhooks and traces.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tower_service::Service;

use super::addresses::is_public;

pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>;

const NOT_PUBLIC: &str = "its address is not public (WEBHOOK_PRIVATE_ADDRESSES)";

/// The reason of a failed request. The error's source says more than the error itself.
pub(crate) fn cause(error: &legacy::Error) -> String {
    let below = error.source().map(ToString::to_string);
    below.unwrap_or_else(|| error.to_string())
}

/// The addresses that requests may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EgressPolicy {
    Anywhere,
    /// Public addresses alone: not this machine, and no private network.
    Public,
}

impl EgressPolicy {
    /// Checks a host that is an address. Names are checked once they are resolved, by the [`Resolver`],
    /// which is not used for addresses.
    pub(crate) fn check_host(self, host: &str) -> Result<(), &'static str> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_allowed = bare.parse().map_or(true, |address| self.allows(address));
        if is_allowed { Ok(()) } else { Err(NOT_PUBLIC) }
    }

    fn allows(self, address: IpAddr) -> bool {
        self == Self::Anywhere || is_public(address)
    }
}

/// The system's resolver without the addresses that the policy denies. It resolves each time a connection is
/// made, so that a name can't change between the check and the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolver(EgressPolicy);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let policy = self.0;
        Box::pin(async move {
            let all: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<_> =
                all.into_iter().filter(|address| policy.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(io::Error::other(NOT_PUBLIC));
            }
            Ok(allowed.into_iter())
        })
    }
}

/// Moves user and password of a request's URL into the header `Authorization`, where they belong: libraries
/// log URLs.
pub(crate) fn hide_credentials<B>(request: &mut Request<B>) {
    let Some(authority) = request.uri().authority().map(Authority::as_str) else { return };
    let Some((user, host)) = authority.rsplit_once('@') else { return };
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(user).collect();
    let basic = HeaderValue::from_str(&format!("Basic {}", BASE64.encode(decoded)));
    let mut parts = request.uri().clone().into_parts();
    parts.authority = host.parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    if let Ok(mut basic) = basic
        && !request.headers().contains_key(AUTHORIZATION)
    {
        basic.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, basic);
    }
}

/// Makes a client. With `is_tls` it trusts the system's root certificates.
///
/// # Errors
/// If the system's root certificates can't be read.
pub(crate) fn client(
    is_tls: bool,
    timeout: Duration,
    policy: EgressPolicy,
) -> io::Result<HttpClient> {
    let mut connector = HttpConnector::new_with_resolver(Resolver(policy));
    connector.set_connect_timeout(Some(timeout));
    connector.set_nodelay(true);
    connector.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls(is_tls)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    // Redirects are not followed: they could lead to any address.
    Ok(Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector))
}

/// A TLS configuration with the system's root certificates, or none if they are not needed.
///
/// # Errors
/// If the system's root certificates can't be read.
fn tls(is_wanted: bool) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(if is_wanted {
        config.with_native_roots()?.with_no_client_auth()
    } else {
        config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_denied() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "198.18.0.1",
            "[::1]",
            "[fd00::1]",
            "[fe80::1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[::]",
        ] {
            assert!(EgressPolicy::Public.check_host(private).is_err(), "{private}");
            assert!(EgressPolicy::Anywhere.check_host(private).is_ok(), "{private}");
        }
        for public in ["1.1.1.1", "172.32.0.1", "[2606:4700::1111]", "example.com"] {
            assert!(EgressPolicy::Public.check_host(public).is_ok(), "{public}");
        }
    }

    #[test]
    fn credentials_of_a_url_become_a_header() {
        let hidden = |url: &str| {
            let mut request = Request::post(url).body(()).unwrap();
            hide_credentials(&mut request);
            let header = request.headers().get(AUTHORIZATION).cloned();
            (request.uri().to_string(), header.map(|it| it.to_str().unwrap().to_owned()))
        };
        assert_eq!(
            hidden("https://ana:hush%21@b.example:8443/x?y"),
            ("https://b.example:8443/x?y".to_owned(), Some("Basic YW5hOmh1c2gh".to_owned()))
        );
        assert_eq!(hidden("http://b.example/"), ("http://b.example/".to_owned(), None));
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_denied() {
        let name = || "localhost".parse().unwrap();
        assert!(Resolver(EgressPolicy::Anywhere).call(name()).await.is_ok());
        let error = Resolver(EgressPolicy::Public).call(name()).await.unwrap_err().to_string();
        assert!(error.contains("WEBHOOK_PRIVATE_ADDRESSES"), "{error}");
    }
}
