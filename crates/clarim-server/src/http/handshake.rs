//! From HTTP to WebSocket: `GET /app/{key}` (RFC 6455, section 4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clarim_hub::{AppIndex, Apps, Refusal};
use clarim_protocol::Code;
use clarim_protocol::rest::Params;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, StatusCode, Uri};
use sha1::{Digest, Sha1};

use super::extensions::{ACCEPTED, accepts_deflate};
use super::response::{ApiError, ApiResponse, text};
use crate::runtime::{Admission, HandshakeParams, OriginId};

/// The response to a handshake, and its result.
#[derive(Debug)]
pub(crate) struct Upgrade {
    pub(crate) response: ApiResponse,
    pub(crate) admission: Admission,
}

/// Checks a handshake and answers it. `compression`: whether it may be negotiated.
pub(crate) fn handshake<B>(
    request: &Request<B>,
    key: &str,
    apps: &Apps,
    origin: impl FnOnce() -> OriginId,
    compression: bool,
) -> Result<Upgrade, ApiError> {
    if request.method() != Method::GET {
        return Err(ApiError::method("GET"));
    }
    let headers = request.headers();
    if !has_token(headers, UPGRADE, "websocket") || !has_token(headers, CONNECTION, "upgrade") {
        return Err(ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            "This URL is a WebSocket. If the client sent an upgrade request, a proxy has dropped its Upgrade and Connection headers.",
        ));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let message = "Only WebSocket version 13 is supported (Sec-WebSocket-Version).";
        return Err(ApiError::new(StatusCode::UPGRADE_REQUIRED, message));
    }
    let nonce = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if BASE64.decode(nonce).map_or(0, |bytes| bytes.len()) != 16 {
        return Err(ApiError::malformed("Sec-WebSocket-Key must be 16 bytes in base64."));
    }
    let mut response = switching_protocols(nonce);
    let deflate = compression && accepts_deflate(headers);
    if deflate {
        let accepted = HeaderValue::from_static(ACCEPTED);
        response.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, accepted);
    }
    let app = admit(request.uri(), headers, key, apps);
    let admission = app.map(|app| HandshakeParams {
        app,
        deflate,
        origin: origin(),
        address: None,
        page: None,
    });
    Ok(Upgrade { response, admission })
}

fn switching_protocols(nonce: &[u8]) -> ApiResponse {
    let digest = Sha1::new()
        .chain_update(nonce)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    let accept = HeaderValue::from_str(&BASE64.encode(digest)).expect("base64 is ASCII");
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(HeaderName::from_static("x-powered-by"), HeaderValue::from_static("Clarim"));
    response
}

/// Finds the app of a client and checks whether the client may connect.
pub(super) fn admit(
    uri: &Uri,
    headers: &HeaderMap,
    key: &str,
    apps: &Apps,
) -> Result<AppIndex, Refusal> {
    let refuse = |code, message: String| Err(Refusal { code, message });
    let Some(index) = apps.find_by_key(key) else {
        return refuse(Code::APP_UNKNOWN, "Application does not exist".to_owned());
    };
    let params = Params::decode(uri.query().unwrap_or_default()).unwrap_or_default();
    // Clients that send no version speak the current one.
    let protocol = params.get("protocol").unwrap_or("7");
    if !["4", "5", "6", "7"].contains(&protocol) {
        let message = "Unsupported protocol version: this server speaks 7, and accepts 4 to 6";
        return refuse(Code::UNSUPPORTED_PROTOCOL, message.to_owned());
    }
    let origin = headers.get(ORIGIN).map(|value| value.to_str().unwrap_or_default());
    let app = apps.get(index);
    if origin.is_none() && app.requires_origin {
        return refuse(Code::UNAUTHORIZED, "Origin missing".to_owned());
    }
    if !app.origins.allow(origin) {
        let origin: String = origin.unwrap_or_default().chars().take(100).collect();
        let allowed = &app.origins;
        tracing::info!(app = app.id, origin, ?allowed, "origin not allowed (ALLOWED_ORIGINS)");
        return refuse(Code::UNAUTHORIZED, "Origin not allowed".to_owned());
    }
    Ok(index)
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use clarim_hub::app::{App, Origins};

    use super::*;

    fn request(headers: &[(&str, &str)], uri: &str) -> Request<()> {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn apps() -> Apps {
        let mut closed = App::new("2", "closed", "secret");
        closed.origins = Origins::new(["laravel.com"]);
        let mut browsers = App::new("3", "browsers", "secret");
        browsers.requires_origin = true;
        Apps::new([App::new("1", "open", "secret"), closed, browsers])
    }

    fn handshake_of(request: &Request<()>, key: &str) -> Result<Upgrade, ApiError> {
        handshake(request, key, &apps(), OriginId::default, false)
    }

    #[test]
    fn the_example_of_the_rfc_is_answered_as_there() {
        let upgrade = handshake_of(&request(&GOOD, "/app/open"), "open").unwrap();
        let headers = upgrade.response.headers();
        assert_eq!(headers[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(upgrade.admission.is_ok());
    }

    #[test]
    fn disabled_extensions_and_subprotocols_are_declined() {
        let mut headers = GOOD.to_vec();
        headers.push(("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"));
        headers.push(("sec-websocket-protocol", "chat"));
        let upgrade = handshake_of(&request(&headers, "/app/open"), "open").unwrap();
        assert!(upgrade.admission.is_ok());
        assert!(!upgrade.response.headers().contains_key("sec-websocket-extensions"));
        assert!(!upgrade.response.headers().contains_key("sec-websocket-protocol"));
    }

    #[test]
    fn an_invalid_handshake_gets_an_error_status() {
        for (missing, status) in [(0, 426), (1, 426), (2, 426), (3, 400)] {
            let mut headers = GOOD.to_vec();
            headers.remove(missing);
            let refused = handshake_of(&request(&headers, "/app/open"), "open").unwrap_err();
            assert_eq!(refused.status.as_u16(), status, "{}", GOOD[missing].0);
        }
    }

    #[test]
    fn a_refusal_has_the_code_of_its_class() {
        let code = |uri: &str, key: &str, origin: &str| {
            let mut headers = GOOD.to_vec();
            if !origin.is_empty() {
                headers.push(("origin", origin));
            }
            let upgrade = handshake_of(&request(&headers, uri), key).unwrap();
            upgrade.admission.err().map(|refusal| refusal.code.get())
        };
        assert_eq!(code("/", "nobody", ""), Some(4001));
        assert_eq!(code("/?protocol=8", "open", ""), Some(4007));
        assert_eq!(code("/?protocol=x", "open", ""), Some(4007));
        assert_eq!(code("/?protocol=5&client=js&version=4.4", "open", ""), None);
        assert_eq!(code("/", "closed", "https://evil.example"), Some(4009));
        assert_eq!(code("/", "closed", "https://laravel.com"), None);
        assert_eq!(code("/", "closed", ""), None);
        assert_eq!(code("/", "browsers", ""), Some(4009));
        assert_eq!(code("/", "browsers", "https://any.example"), None);
    }
}
