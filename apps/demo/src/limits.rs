//! Limits of logins: wrong passwords, and hashing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version, password_hash};
use subtle::ConstantTimeEq as _;
use tokio::sync::{Semaphore, oneshot};

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
    hashing: Sender<Check>,
}

/// A password to be checked.
struct Check {
    password: String,
    hash: String,
    answer: oneshot::Sender<anyhow::Result<bool>>,
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
        let (hashing, checks) = mpsc::channel();
        let checks = Arc::new(Mutex::new(checks));
        for _ in 0..HASHING {
            let checks = checks.clone();
            std::thread::spawn(move || check_passwords(&checks));
        }
        Self { attempts: Mutex::default(), waiting: Semaphore::new(WAITING), hashing }
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

    /// Whether the password is right.
    pub(crate) async fn verify(&self, password: String, hash: String) -> ApiResult<bool> {
        let _waiting = self.waiting.try_acquire().map_err(|_| ApiError::Busy)?;
        let (answer, answered) = oneshot::channel();
        self.hashing.send(Check { password, hash, answer })?;
        Ok(answered.await??)
    }
}

/// Checks passwords until the limits are dropped. Hashing is slow on purpose, so it must not block the
/// threads of other requests. Memory is kept for the next password: allocators do not give it back.
fn check_passwords(checks: &Mutex<Receiver<Check>>) {
    let mut memory = Vec::new();
    loop {
        // The lock is held while waiting for a check, and not while hashing.
        let next = checks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Check { password, hash, answer }) = next else { return };
        let is_right = is_right(&password, &hash, &mut memory)
            .map_err(|error| anyhow!("invalid password hash in the database: {error}"));
        // The request may have ended.
        answer.send(is_right).ok();
    }
}

/// The library's `verify_password`, with memory of the caller.
fn is_right(password: &str, hash: &str, memory: &mut Vec<Block>) -> password_hash::Result<bool> {
    let known = PasswordHash::new(hash)?;
    let params = Params::try_from(&known)?;
    let algorithm = Algorithm::try_from(known.algorithm.as_str())?;
    let version = known.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let salt = known.salt.ok_or(password_hash::Error::SaltInvalid)?;
    let expected = known.hash.ok_or(password_hash::Error::OutputSize)?;
    memory.resize(params.block_count(), Block::default());
    let mut output = vec![0; expected.len()];
    let hasher = Argon2::new(algorithm, version, params);
    hasher.hash_password_into_with_memory(password.as_bytes(), &salt, &mut output, memory)?;
    Ok(output.ct_eq(expected.as_bytes()).into())
}

#[cfg(test)]
mod tests {
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
        let verify = || limits.verify("a".to_owned(), "b".to_owned());
        assert!(matches!(verify().await, Err(ApiError::Internal(_))), "an invalid hash");
        let waiting = limits.waiting.acquire_many(u32::try_from(WAITING).unwrap()).await.unwrap();
        assert!(matches!(verify().await, Err(ApiError::Busy)));
        drop(waiting);
        assert!(matches!(verify().await, Err(ApiError::Internal(_))));
    }
}
