//! Bearer tokens, and limits on guessing them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::HeaderMap;

use super::Client;
use crate::config::Token;
use crate::http::bearer;
use crate::http::response::ApiError;

/// Maximum number of wrong tokens of one address in a window. Further ones get 429 instead of 401.
const WRONG_TOKENS: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// Maximum number of addresses that are counted. Beyond it they share one count.
const ADDRESSES: usize = 10_000;

/// Checks the tokens of requests. The right token is always accepted: guesses of others must not lock the
/// operator out, and it is too long to be guessed.
#[derive(Debug, Default)]
pub(crate) struct Guesses(Mutex<Window>);

/// Wrong tokens of the current window, by address.
#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    wrong: HashMap<Option<IpAddr>, u32>,
}

impl Guesses {
    /// Checks the token of a request. `name`: the setting of the right one.
    pub(crate) fn check(
        &self,
        headers: &HeaderMap,
        client: &Client,
        token: &Token,
        name: &str,
    ) -> Result<(), ApiError> {
        let given = bearer(headers);
        if given.is_some_and(|given| token.is(given)) {
            return Ok(());
        }
        // A request without a token is not a guess.
        if given.is_some() && !self.takes(client.address(headers), Instant::now()) {
            return Err(too_many_requests());
        }
        let message = format!("Wrong or missing token: send {name} as \"Authorization: Bearer\".");
        Err(ApiError::new(StatusCode::UNAUTHORIZED, message))
    }

    fn takes(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            *window = Window { began: Some(now), wrong: HashMap::new() };
        }
        let is_known = window.wrong.contains_key(&address) || window.wrong.len() < ADDRESSES;
        let count = window.wrong.entry(address.filter(|_| is_known)).or_default();
        let is_left = *count < WRONG_TOKENS;
        *count += u32::from(is_left);
        is_left
    }
}

pub(crate) fn too_many_requests() -> ApiError {
    let message = "Too many requests. Try again in a few seconds.";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_tokens_are_limited_by_address_and_the_right_one_is_not() {
        let guesses = Guesses::default();
        let token = Token::new("right");
        let ask = |given: &str, last: u8| {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", format!("Bearer {given}").parse().unwrap());
            let peer = Some(IpAddr::from([203, 0, 113, last]));
            let client = Client { peer, connection: None };
            let checked = guesses.check(&headers, &client, &token, "TOKEN");
            checked.map_or_else(|error| error.status.as_u16(), |()| 200)
        };
        for _ in 0..WRONG_TOKENS {
            assert_eq!(ask("wrong", 1), 401);
        }
        assert_eq!(ask("wrong", 1), 429);
        assert_eq!(ask("wrong", 2), 401);
        assert_eq!(ask("right", 1), 200);
        let later = Instant::now() + WINDOW;
        assert!(guesses.takes(Some(IpAddr::from([203, 0, 113, 1])), later));
    }
}
