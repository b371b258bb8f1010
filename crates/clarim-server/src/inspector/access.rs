//! Who may use the inspector.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode, Uri};

use super::too_many;
use crate::config::Token;
use crate::http::answer::Refused;
use crate::http::bearer;
use crate::http::playground::{is_asked_here, is_own_page};

/// Wrong tokens that are looked at in so much time, of all who try together. Over it no token is.
const WRONG_TOKENS: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Access {
    /// Without one, it is for who is on this machine.
    token: Option<Token>,
    wrong: Limit,
}

impl Access {
    /// `None`: for nobody.
    pub(super) fn new(token: Option<Token>, is_open: bool) -> Option<Self> {
        let wrong = Limit::new(WRONG_TOKENS, WINDOW);
        (token.is_some() || is_open).then_some(Self { token, wrong })
    }

    /// The page itself is no secret: it asks for the token.
    pub(super) fn to_page(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refused> {
        if self.token.is_some() || is_asked_here(headers, uri) {
            return Ok(());
        }
        let sentence = "Without INSPECTOR_TOKEN this page is for this machine alone, and not for what a proxy passes on.";
        Err(Refused::new(StatusCode::FORBIDDEN, sentence))
    }

    pub(super) fn to_api<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        let headers = request.headers();
        let Some(token) = &self.token else {
            self.to_page(headers, request.uri())?;
            // Another site that a developer has open must not act here.
            if *request.method() == Method::GET || is_own_page(headers, request.uri()) {
                return Ok(());
            }
            let sentence = "Only the page served from this address may do this.";
            return Err(Refused::new(StatusCode::FORBIDDEN, sentence));
        };
        if self.wrong.is_used_up() {
            return Err(too_many());
        }
        let given = bearer(headers);
        if given.is_some_and(|given| token.is(given)) {
            return Ok(());
        }
        // A request without a token is no guess.
        if given.is_some() {
            self.wrong.take();
        }
        let sentence = "The inspector is for who has INSPECTOR_TOKEN.";
        Err(Refused::new(StatusCode::UNAUTHORIZED, sentence))
    }
}

/// So many in each window of time.
#[derive(Debug)]
pub(super) struct Limit {
    most: u32,
    window: Duration,
    used: Mutex<(Instant, u32)>,
}

impl Limit {
    pub(super) fn new(most: u32, window: Duration) -> Self {
        Self { most, window, used: Mutex::new((Instant::now(), 0)) }
    }

    /// Uses one. `false`: there is none left.
    pub(super) fn take(&self) -> bool {
        self.take_at(Instant::now(), 1)
    }

    fn is_used_up(&self) -> bool {
        !self.take_at(Instant::now(), 0)
    }

    fn take_at(&self, now: Instant, count: u32) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(used.0) >= self.window {
            *used = (now, 0);
        }
        let is_left = used.1 < self.most;
        used.1 += if is_left { count } else { 0 };
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_for_a_window_and_begins_anew() {
        let limit = Limit::new(2, WINDOW);
        let begun = Instant::now();
        let takes: Vec<bool> = (0..3).map(|_| limit.take_at(begun, 1)).collect();
        assert_eq!(takes, [true, true, false]);
        assert!(!limit.take_at(begun + WINDOW / 2, 0));
        assert!(limit.take_at(begun + WINDOW * 2, 1));
    }

    #[test]
    fn without_a_token_another_site_may_not_act() {
        let access = Access::new(None, true).unwrap();
        let ask = |method: &str, origin: &str| {
            let request = Request::builder().method(method).uri("/inspector/api/x");
            let request = request.header("host", "localhost:8080").header("origin", origin);
            access.to_api(&request.body(()).unwrap()).is_ok()
        };
        assert!(ask("POST", "http://localhost:8080"));
        assert!(!ask("POST", "https://evil.example"));
        assert!(Access::new(None, false).is_none());
    }
}
