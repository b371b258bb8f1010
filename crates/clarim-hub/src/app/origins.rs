//! Allowed origins: the pages that may connect.

use std::fmt;

use wildmatch::WildMatchPattern;

/// Allowed origins, by the `Origin` header.
///
/// A pattern is a host in which `*` stands for any run of characters: `*.example.com` allows every subdomain
/// but not `example.com` itself. Case is ignored, and so are scheme and port, unless the pattern has some:
/// `example.com:8443` allows one port, `https://example.com` one origin. A path is ignored, since browsers
/// send none.
///
/// Clients that are not browsers send no `Origin` and are allowed: the header protects users of browsers, and
/// other clients could send any value.
#[derive(Clone, PartialEq)]
pub struct Origins(Vec<Pattern>);

/// One allowed origin.
#[derive(Clone, PartialEq)]
struct Pattern {
    scheme: Option<String>,
    host: Host,
    port: Port,
}

/// A host with `*`; all other characters stand for themselves.
type Host = WildMatchPattern<'*', '\0'>;

/// The ports of a pattern.
#[derive(Clone, Copy, PartialEq)]
enum Port {
    Any,
    /// The port in the URL or, without one, that of its scheme.
    Only(Option<u16>),
}

impl Origins {
    /// Allows every page.
    #[must_use]
    pub fn any() -> Self {
        Self::new(["*"])
    }

    /// Allows pages whose origin matches one of `patterns`. A pattern with a [problem](Self::problem) allows
    /// none.
    pub fn new(patterns: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let pattern = |text: &str| Pattern::parse(text).ok();
        Self(patterns.into_iter().filter_map(|text| pattern(text.as_ref())).collect())
    }

    /// Returns why a pattern can match no origin, as the rest of a sentence.
    ///
    /// ```
    /// use clarim_hub::app::Origins;
    ///
    /// assert_eq!(Origins::problem("https://example.com/shop"), None);
    /// assert!(Origins::problem("exam ple.com").is_some());
    /// ```
    #[must_use]
    pub fn problem(pattern: &str) -> Option<&'static str> {
        Pattern::parse(pattern).err()
    }

    /// Whether a request with this `Origin` header (`None` if it has none) may connect.
    ///
    /// ```
    /// use clarim_hub::app::Origins;
    ///
    /// let origins = Origins::new(["example.com", "*.example.com"]);
    /// assert!(origins.allow(Some("https://www.Example.com:8443")));
    /// assert!(!origins.allow(Some("https://example.com.evil.net")));
    /// assert!(origins.allow(None));
    /// ```
    #[must_use]
    pub fn allow(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        let origin = origin.to_ascii_lowercase();
        let origin = Url::parse(&origin);
        self.0.iter().any(|pattern| pattern.matches(&origin))
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim().to_ascii_lowercase();
        let url = Url::parse(&text);
        let scheme = url.scheme.filter(|scheme| *scheme != "*");
        let is_scheme = |scheme: &str| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        };
        if !scheme.is_none_or(is_scheme) {
            return Err("has an invalid scheme; write for example https://example.com");
        }
        let port = match url.port {
            Some("*") => Port::Any,
            Some(port) => {
                let number = port.parse().map_err(|_| "has an invalid port")?;
                Port::Only(Some(number))
            }
            None if scheme.is_some() => Port::Only(default_port(scheme)),
            None => Port::Any,
        };
        if url.host.is_empty() {
            return Err("has no host; write for example example.com or *.example.com");
        }
        if !url.host.is_ascii() {
            return Err("has a non-ASCII host; write it in Punycode (xn--…), as browsers send it");
        }
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*[]:".contains(&byte);
        if !url.host.bytes().all(is_host) {
            return Err("is not a host; write for example example.com or *.example.com");
        }
        Ok(Self { scheme: scheme.map(str::to_owned), host: Host::new(url.host), port })
    }

    fn matches(&self, origin: &Url<'_>) -> bool {
        let port = || match origin.port {
            Some(port) => port.parse().ok(),
            None => default_port(origin.scheme),
        };
        self.scheme.as_deref().is_none_or(|scheme| origin.scheme == Some(scheme))
            && match self.port {
                Port::Any => true,
                Port::Only(only) => port() == only,
            }
            && self.host.matches(origin.host)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}://")?;
        }
        write!(f, "{}", self.host)?;
        match self.port {
            Port::Only(Some(port)) if default_port(self.scheme.as_deref()) != Some(port) => {
                write!(f, ":{port}")
            }
            Port::Any | Port::Only(_) => Ok(()),
        }
    }
}

/// The parts of `https://host:port/path` that count for an origin.
struct Url<'a> {
    scheme: Option<&'a str>,
    /// An IPv6 address has its brackets.
    host: &'a str,
    port: Option<&'a str>,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Self {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, text),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        match authority.rsplit_once(':') {
            // The last colon of an IPv6 address is inside its brackets.
            Some((host, port)) if !port.ends_with(']') => Self { scheme, host, port: Some(port) },
            _ => Self { scheme, host: authority, port: None },
        }
    }
}

fn default_port(scheme: Option<&str>) -> Option<u16> {
    match scheme {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_matches_with_every_scheme_and_port() {
        let origins = Origins::new(["laravel.com", "*.example.com", "[::1]"]);
        for yes in [
            "http://laravel.com",
            "https://LARAVEL.com:444",
            "https://a.b.example.com",
            "http://[::1]:80",
        ] {
            assert!(origins.allow(Some(yes)), "{yes}");
        }
        for no in [
            "http://laravel.com.evil",
            "https://example.com",
            "null",
            "",
            "https://evil.com/laravel.com",
        ] {
            assert!(!origins.allow(Some(no)), "{no}");
        }
        assert!(Origins::any().allow(Some("null")));
    }

    #[test]
    fn a_pattern_means_what_it_says() {
        for (pattern, yes, no) in [
            ("https://Example.com", "https://example.com", "http://example.com"),
            ("https://example.com/", "https://example.com:443", "https://example.com:8443"),
            ("https://example.com:8443/a?b", "https://example.com:8443", "https://example.com"),
            ("http://localhost", "http://localhost", "http://localhost:5173"),
            ("http://localhost:*", "http://localhost:5173", "https://localhost:5173"),
            ("localhost:5173", "http://localhost:5173", "http://localhost:5174"),
            ("example.com:443", "https://example.com", "http://example.com"),
            ("example.com/shop", "http://example.com", "http://example.org"),
            ("*://example.com", "http://example.com:1", "http://www.example.com"),
            ("https://*.example.com", "https://a.example.com", "https://example.com"),
            ("[::1]:8080", "http://[::1]:8080", "http://[::1]:81"),
            ("capacitor://localhost", "capacitor://localhost", "ionic://localhost"),
            ("null", "null", "http://x"),
        ] {
            assert_eq!(Origins::problem(pattern), None, "{pattern}");
            let origins = Origins::new([pattern]);
            assert!(origins.allow(Some(yes)), "{pattern} allows {yes}");
            assert!(!origins.allow(Some(no)), "{pattern} does not allow {no}");
        }
        let shown = Origins::new(["https://a.example:443/x", "B.example:80", "*"]);
        assert_eq!(format!("{shown:?}"), "[https://a.example, b.example:80, *]");
    }

    #[test]
    fn a_pattern_that_matches_no_origin_has_a_problem() {
        for pattern in [
            "",
            "https://",
            "https:///shop",
            "exam ple.com",
            "bücher.example",
            "user@example.com",
            "example.com:http",
            "example.com:99999",
            "1x://example.com",
            "[\"example.com\"]",
        ] {
            assert!(Origins::problem(pattern).is_some(), "{pattern}");
            assert!(!Origins::new([pattern]).allow(Some("https://example.com")), "{pattern}");
        }
    }
}
