//! The extension permessage-deflate in a handshake (RFC 6455, section 9.1, and RFC 7692, section 7.1).

use hyper::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

/// The response to an accepted offer: each message is compressed by itself, in both directions.
pub(crate) const ACCEPTED: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The frames that subscribers share are compressed with a window of 2^15 bytes.
const WINDOW_BITS: u8 = 15;

/// Whether a client offers permessage-deflate with parameters that are supported. Other offers are ignored,
/// as the RFC says.
pub(crate) fn accepts_deflate(headers: &HeaderMap) -> bool {
    headers
        .get_all(SEC_WEBSOCKET_EXTENSIONS)
        .iter()
        .filter_map(|value| HeaderValue::to_str(value).ok())
        .flat_map(offers)
        .any(is_acceptable)
}

/// Splits at commas outside of quotes.
fn offers(value: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    value.split(move |c| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    })
}

fn is_acceptable(offer: &str) -> bool {
    let mut parts = offer.split(';').map(str::trim);
    if !parts.next().is_some_and(|name| name.eq_ignore_ascii_case("permessage-deflate")) {
        return false;
    }
    let mut seen = Vec::new();
    parts.all(|parameter| {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start()))),
            None => (parameter, None),
        };
        let name = name.to_ascii_lowercase();
        let is_fine = match (name.as_str(), value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => true,
            // A hint that needs no response: this side keeps the largest window.
            ("client_max_window_bits", None) => true,
            ("client_max_window_bits", Some(bits)) => window_bits(bits).is_some(),
            ("server_max_window_bits", Some(bits)) => window_bits(bits) == Some(WINDOW_BITS),
            _ => false,
        };
        let is_new = !seen.contains(&name);
        seen.push(name);
        is_fine && is_new
    })
}

/// A value may be a token or a quoted string (RFC 7692, section 5.1).
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// A number from 8 to 15, without leading zeros.
fn window_bits(text: &str) -> Option<u8> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|bits| is_plain && (8..=15).contains(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(value));
        }
        accepts_deflate(&headers)
    }

    #[test]
    fn supported_offers_are_accepted() {
        for offer in [
            "permessage-deflate",
            "Permessage-Deflate",
            // Chromium, Firefox and Node's ws.
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate ;client_max_window_bits = 10",
            "permessage-deflate; client_max_window_bits=\"8\"",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=15",
            "permessage-deflate; server_max_window_bits=\"15\"; client_max_window_bits=9",
            // The first that can be accepted is.
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits",
            "permessage-bzip2; a=\"x;y,z\", permessage-deflate",
        ] {
            assert!(accepts(&[offer]), "{offer}");
        }
        assert!(accepts(&["permessage-deflate; unknown", "permessage-deflate"]));
    }

    #[test]
    fn unsupported_and_invalid_offers_are_ignored() {
        for offer in [
            "",
            ";",
            "permessage-deflat",
            "permessage-deflate;",
            "permessage-deflate; unknown",
            "permessage-deflate; unknown=1",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=\"\"",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=15",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=14",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
            "x; a=\"permessage-deflate\"",
            "x; a=\", permessage-deflate, \"",
        ] {
            assert!(!accepts(&[offer]), "{offer}");
        }
        assert!(!accepts(&[]));
    }
}
