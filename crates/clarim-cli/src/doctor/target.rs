//! The address of a server.

use hyper::Uri;

/// Where a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) is_tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// "" or "/x".
    pub(crate) path: String,
}

impl Target {
    /// Of `ws`, `wss`, `http` or `https`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} is no address of a server: {why}");
        let uri: Uri = text.parse().map_err(|error| wrong(&format!("{error}")))?;
        let is_tls = match uri.scheme_str() {
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            _ => return Err(wrong("it begins with ws://, wss://, http:// or https://")),
        };
        let host = uri.host().ok_or_else(|| wrong("it has no host"))?.to_owned();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { is_tls, host, port, path })
    }

    /// For the header `Host`, and for people.
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
    fn addresses_are_read() {
        let target = Target::parse("wss://ws.example.com/x/").unwrap();
        assert_eq!((target.port, target.path.as_str(), target.is_tls), (443, "/x", true));
        assert_eq!(target.shown(), "https://ws.example.com/x");
        assert_eq!(Target::parse("http://[::1]:8080").unwrap().authority(), "[::1]:8080");
        for wrong in ["", "example.com", "ftp://x", "http://"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
