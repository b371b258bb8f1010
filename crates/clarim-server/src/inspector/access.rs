//! Access to the inspector.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode, Uri};

use super::too_many_requests;
use crate::config::Token;
use crate::http::bearer;
use crate::http::response::ApiError;
use crate::http::signed::{is_local_request, is_own_page};

/// Maximum number of wrong tokens in a window, of all clients together. Beyond it every token is refused.
const WRONG_TOKENS: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// Checks requests to the inspector.
#[derive(Debug)]
pub(super) struct Access {
    /// Without a token, requests of this machine are allowed.
    token: Option<Token>,
    wrong: WindowLimit,
}

impl Access {
    /// Returns `None` if the inspector is off. `is_open`: requests of this machine need no token.
    pub(super) fn new(token: Option<Token>, is_open: bool) -> Option<Self> {
        let wrong = WindowLimit::new(WRONG_TOKENS, WINDOW);
        (token.is_some() || is_open).then_some(Self { token, wrong })
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
    pub(super) fn check_api<B>(&self, request: &Request<B>) -> Result<(), ApiError> {
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
        if self.wrong.is_used_up() {
            return Err(too_many_requests());
        }
        let given = bearer(headers);
        if given.is_some_and(|given| token.is(given)) {
            return Ok(());
        }
        // A request without a token is not a guess.
        if given.is_some() {
            self.wrong.take();
        }
        let message = "Wrong or missing token: send INSPECTOR_TOKEN as \"Authorization: Bearer\".";
        Err(ApiError::new(StatusCode::UNAUTHORIZED, message))
    }
}

/// A limit for each window of time.
#[derive(Debug)]
pub(super) struct WindowLimit {
    max: u32,
    window: Duration,
    current: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    used: u32,
}

impl WindowLimit {
    pub(super) fn new(max: u32, window: Duration) -> Self {
        Self { max, window, current: Mutex::new(Window { began: Instant::now(), used: 0 }) }
    }

    /// Uses one. Returns `false` if none is left.
    pub(super) fn take(&self) -> bool {
        self.take_at(Instant::now(), 1)
    }

    fn is_used_up(&self) -> bool {
        !self.take_at(Instant::now(), 0)
    }

    fn take_at(&self, now: Instant, count: u32) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(current.began) >= self.window {
            *current = Window { began: now, used: 0 };
        }
        let is_left = current.used < self.max;
        current.used += if is_left { count } else { 0 };
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_reset_with_each_window() {
        let limit = WindowLimit::new(2, WINDOW);
        let begun = Instant::now();
        let takes: Vec<bool> = (0..3).map(|_| limit.take_at(begun, 1)).collect();
        assert_eq!(takes, [true, true, false]);
        assert!(!limit.take_at(begun + WINDOW / 2, 0));
        assert!(limit.take_at(begun + WINDOW * 2, 1));
    }

    #[test]
    fn without_a_token_another_site_cannot_act() {
        let access = Access::new(None, true).unwrap();
        let ask = |method: &str, origin: &str| {
            let request = Request::builder().method(method).uri("/inspector/api/x");
            let request = request.header("host", "localhost:8080").header("origin", origin);
            access.check_api(&request.body(()).unwrap()).is_ok()
        };
        assert!(ask("POST", "http://localhost:8080"));
        assert!(!ask("POST", "https://evil.example"));
        assert!(Access::new(None, false).is_none());
    }
}
