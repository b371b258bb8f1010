//! Allowed origins: the pages that may connect.

use std::fmt;

use wildmatch::WildMatchPattern;

/// Allowed origins, by the host in the `Origin` header.
///
/// A pattern is a host in which `*` stands for any run of characters: `*.example.com` allows every
/// subdomain but not `example.com` itself. Port, scheme and case are ignored. Clients that are not browsers
/// send no `Origin` and are allowed: the header protects users of browsers, and other clients could send any
/// value.
#[derive(Clone, PartialEq)]
pub struct Origins(Vec<Pattern>);

/// A host with `*`; all other characters stand for themselves.
type Pattern = WildMatchPattern<'*', '\0'>;

impl Origins {
    /// Allows every page.
    #[must_use]
    pub fn any() -> Self {
        Self::new(["*"])
    }

    /// Allows pages whose host matches one of `patterns`.
    pub fn new(patterns: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let pattern = |text: &str| Pattern::new(&text.trim().to_ascii_lowercase());
        Self(patterns.into_iter().map(|text| pattern(text.as_ref())).collect())
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
        let host = host_of(origin).to_ascii_lowercase();
        self.0.iter().any(|pattern| pattern.matches(&host))
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(ToString::to_string)).finish()
    }
}

/// Returns the host of `https://host:port`, with the brackets of an IPv6 address.
fn host_of(origin: &str) -> &str {
    let authority = origin.split_once("://").map_or(origin, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or(authority);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_by_host_alone() {
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
}
