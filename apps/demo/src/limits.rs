//! Limits of logins: wrong passwords, and hashing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use tokio::sync::Semaphore;

use crate::error::{ApiError, ApiResult};

/// Maximum number of wrong passwords in [`WINDOW`], for one login from one address.
const MAX_WRONG: u32 = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of logins and addresses that are counted. Beyond it, others wait for the window's end.
const MAX_COUNTED: usize = 10_000;
/// Passwords that are hashed at the same time. Each takes 19 MiB.
const HASHING: usize = 2;
/// Requests that wait for their turn. At some 20 ms each, the last one waits for less than a second.
const WAITING: usize = 32;

/// The limits of logins, which requests share.
#[derive(Debug)]
pub(crate) struct Limits {
    attempts: Mutex<HashMap<Key, Attempts>>,
    waiting: Semaphore,
    hashing: Semaphore,
}

/// One login from one address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) login: String,
    pub(crate) address: Option<IpAddr>,
}

#[derive(Debug)]
struct Attempts {
    count: u32,
    until: Instant,
}

impl Limits {
    pub(crate) fn new() -> Self {
        Self {
            attempts: Mutex::default(),
            waiting: Semaphore::new(WAITING),
            hashing: Semaphore::new(HASHING),
        }
    }

    /// Counts an attempt before its password is checked, so that attempts at the same moment count too.
    pub(crate) fn admit(&self, key: Key, now: Instant) -> ApiResult<()> {
        // No code that can panic runs under this lock.
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.len() >= MAX_COUNTED {
            attempts.retain(|_, one| one.until > now);
        }
        if attempts.len() >= MAX_COUNTED && !attempts.contains_key(&key) {
            return Err(ApiError::TooManyAttempts);
        }
        let one = attempts.entry(key).or_insert(Attempts { count: 0, until: now + WINDOW });
        if one.until <= now {
            *one = Attempts { count: 0, until: now + WINDOW };
        }
        one.count = one.count.saturating_add(1);
        match one.count <= MAX_WRONG {
            true => Ok(()),
            false => Err(ApiError::TooManyAttempts),
        }
    }

    pub(crate) fn succeeded(&self, key: &Key) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Whether the password is right. Hashing is slow on purpose, so it must not block the threads of other
    /// requests, nor take all memory.
    pub(crate) async fn verify(&self, password: String, hash: String) -> ApiResult<bool> {
        let _waiting = self.waiting.try_acquire().map_err(|_| ApiError::Busy)?;
        let _hashing = self.hashing.acquire().await?;
        let verified = tokio::task::spawn_blocking(move || {
            let hash = PasswordHash::new(&hash)
                .map_err(|error| anyhow!("invalid password hash in the database: {error}"))?;
            anyhow::Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        });
        Ok(verified.await??)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    fn key(login: &str) -> Key {
        Key { login: login.to_owned(), address: None }
    }

    #[test]
    fn attempts_are_limited_until_one_succeeds_or_the_window_ends() {
        let limits = Limits::new();
        let now = Instant::now();
        let admits = |login, now| limits.admit(key(login), now).is_ok();
        assert!((0..MAX_WRONG).all(|_| admits("ana", now)));
        assert!(!admits("ana", now));
        assert!(admits("bruno", now), "another login");
        assert!(admits("ana", now + WINDOW));
        limits.succeeded(&key("ana"));
        assert!((0..MAX_WRONG).all(|_| admits("ana", now + WINDOW)));
    }

    #[test]
    fn the_number_of_counted_logins_is_limited() {
        let limits = Limits::new();
        let now = Instant::now();
        for n in 0..MAX_COUNTED {
            limits.admit(key(&n.to_string()), now).unwrap();
        }
        assert!(limits.admit(key("ana"), now).is_err());
        assert!(limits.admit(key("0"), now).is_ok(), "a counted one");
        assert!(limits.admit(key("ana"), now + WINDOW).is_ok());
        assert_eq!(limits.attempts.lock().unwrap().len(), 1, "the others were forgotten");
    }

    #[tokio::test]
    async fn passwords_that_wait_for_hashing_are_limited() {
        let limits = Limits::new();
        let hashing = limits.hashing.acquire_many(2).await.unwrap();
        let verify = || limits.verify("a".to_owned(), "b".to_owned());
        let mut waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(verify())).collect();
        std::future::poll_fn(|cx| {
            assert!(waiting.iter_mut().all(|one| one.as_mut().poll(cx).is_pending()));
            Poll::Ready(())
        })
        .await;
        assert!(matches!(verify().await, Err(ApiError::Busy)));
        drop(waiting);
        drop(hashing);
        assert!(matches!(verify().await, Err(ApiError::Internal(_))), "an invalid hash");
    }
}
