//! Access to the inspector.

use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode, Uri};

use crate::config::Token;
use crate::http::Client;
use crate::http::client::guesses::Guesses;
use crate::http::response::ApiError;
use crate::http::signed::{is_local_request, is_own_page};

/// Checks requests to the inspector.
#[derive(Debug)]
pub(super) struct Access {
    /// Without a token, requests of this machine are allowed.
    token: Option<Token>,
    guesses: Guesses,
}

impl Access {
    /// Returns `None` if the inspector is off. `is_open`: requests of this machine need no token.
    pub(super) fn new(token: Option<Token>, is_open: bool) -> Option<Self> {
        (token.is_some() || is_open).then(|| Self { token, guesses: Guesses::default() })
    }

    /// Checks a request for a file of the page. The page itself is not secret: it asks for the token.
    pub(super) fn check_page(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
        if self.token.is_some() || is_local_request(headers, uri) {
            return Ok(());
        }
        let message = "Without INSPECTOR_TOKEN this page is available on this machine only, and not through a proxy.";
        Err(ApiError::new(StatusCode::FORBIDDEN, message))
    }

    /// Checks a request to the API of the page.
    pub(super) fn check_api<B>(
        &self,
        request: &Request<B>,
        client: &Client,
    ) -> Result<(), ApiError> {
        let headers = request.headers();
        let Some(token) = &self.token else {
            self.check_page(headers, request.uri())?;
            // Another site that a developer has open must not act here.
            if *request.method() == Method::GET || is_own_page(headers, request.uri()) {
                return Ok(());
            }
            let message = "Only the page served from this address can do this.";
            return Err(ApiError::new(StatusCode::FORBIDDEN, message));
        };
        self.guesses.check(headers, client, token, "INSPECTOR_TOKEN")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_token_another_site_cannot_act() {
        let access = Access::new(None, true).unwrap();
        let ask = |method: &str, origin: &str| {
            let request = Request::builder().method(method).uri("/inspector/api/x");
            let request = request.header("host", "localhost:8080").header("origin", origin);
            access.check_api(&request.body(()).unwrap(), &Client::default()).is_ok()
        };
        assert!(ask("POST", "http://localhost:8080"));
        assert!(!ask("POST", "https://evil.example"));
        assert!(Access::new(None, false).is_none());
    }
}
