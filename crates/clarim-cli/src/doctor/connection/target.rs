//! URLs of servers.

use hyper::Uri;
use hyper::http::uri::InvalidUri;

/// A text that is not the URL of a server.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not the URL of a server: {cause}")]
pub(crate) struct TargetError {
    text: String,
    #[source]
    cause: TargetCause,
}

#[derive(Debug, thiserror::Error)]
enum TargetCause {
    #[error("{0}")]
    Syntax(#[source] InvalidUri),
    #[error("it must begin with ws://, wss://, http:// or https://")]
    Scheme,
    #[error("it has no host")]
    Host,
}

/// The URL of a server, in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) is_tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// "" or "/x".
    pub(crate) path: String,
}

impl Target {
    /// Parses a URL that begins with `ws`, `wss`, `http` or `https`.
    pub(crate) fn parse(text: &str) -> Result<Self, TargetError> {
        let error = |cause| TargetError { text: text.to_owned(), cause };
        let uri: Uri = text.parse().map_err(|it| error(TargetCause::Syntax(it)))?;
        let is_tls = match uri.scheme_str() {
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            _ => return Err(error(TargetCause::Scheme)),
        };
        let host = uri.host().ok_or_else(|| error(TargetCause::Host))?.to_owned();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { is_tls, host, port, path })
    }

    /// Host and port, as in the header `Host`.
    pub(crate) fn authority(&self) -> String {
        match (self.is_tls, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    pub(crate) fn shown(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
        let target = Target::parse("wss://ws.example.com/x/").unwrap();
        assert_eq!((target.port, target.path.as_str(), target.is_tls), (443, "/x", true));
        assert_eq!(target.shown(), "https://ws.example.com/x");
        assert_eq!(Target::parse("http://[::1]:8080").unwrap().authority(), "[::1]:8080");
        for wrong in ["", "example.com", "ftp://x", "http://"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
