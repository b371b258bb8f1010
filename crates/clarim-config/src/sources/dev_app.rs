//! The development app: created if no app is configured, and the same at every start.

use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Deserialize;
use tempfile::Builder;

use super::state_dir;
use crate::keys;
use crate::problem::Problem;
use crate::source::Source;
use crate::typed::Typed;

/// Name of its file in the state directory.
pub(crate) const FILE: &str = "app.toml";

const DIGITS: &[u8] = b"0123456789";
const LETTERS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Credentials of an app. Their `Debug` output contains no secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Id of the app.
    pub id: String,
    /// Public key.
    pub key: String,
    /// Secret that its backend signs with.
    pub secret: String,
}

impl Credentials {
    /// Generates a 6-digit id, and a key and a secret of 20 lower-case letters and digits.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn random() -> io::Result<Self> {
        // An id must not begin with 0.
        let id = random(&DIGITS[1..], 1)? + &random(DIGITS, 5)?;
        Ok(Self { id, key: random(LETTERS, 20)?, secret: random(LETTERS, 20)? })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("key", &self.key).finish_non_exhaustive()
    }
}

fn random(alphabet: &[u8], length: usize) -> io::Result<String> {
    // Larger bytes would make the first letters of the alphabet more likely.
    let end = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let fair = bytes.iter().map(|&b| usize::from(b)).filter(|&b| b < end);
        text.extend(
            fair.take(length - text.len()).map(|b| char::from(alphabet[b % alphabet.len()])),
        );
    }
    Ok(text)
}

/// Whether something that does not exist is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateIfMissing {
    /// It is created.
    Yes,
    /// It is left out.
    No,
}

/// Gives the app of the environment the credentials of the development app in `file`.
pub(crate) fn add_to(typed: &mut Typed, file: &Path, create: CreateIfMissing) {
    let directory = file.parent().unwrap_or(file);
    let credentials = match create {
        CreateIfMissing::Yes => read_or_create(directory).map(Some),
        CreateIfMissing::No => read(directory),
    };
    match credentials {
        Ok(None) => {}
        Ok(Some(Credentials { id, key, secret })) => {
            let app = &mut typed.environment_app;
            let source = || Source::DevelopmentApp(file.to_owned());
            app.add(&keys::APP_ID, &id, source());
            app.add(&keys::APP_KEY, &key, source());
            app.add(&keys::APP_SECRET, &secret, source());
        }
        Err(problem) => typed.problems.push(problem),
    }
}

/// The development app of this state directory, if it exists.
fn read(directory: &Path) -> Result<Option<Credentials>, Problem> {
    let file = directory.join(FILE);
    match fs::read_to_string(&file) {
        // The error's own text quotes the file, which contains the secret.
        Ok(text) => toml::from_str(&text).map(Some).map_err(|_| {
            let what = "does not contain id, key and secret; delete it to create a new app";
            Problem::new(file.display(), what)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let what = format!(
                "cannot be read: {error}; make it readable, or set CLARIM_STATE_DIR to another directory"
            );
            Err(Problem::new(file.display(), what))
        }
    }
}

/// The development app of this state directory, which is created if it does not exist.
fn read_or_create(directory: &Path) -> Result<Credentials, Problem> {
    if let Some(credentials) = read(directory)? {
        return Ok(credentials);
    }
    create(directory).map_err(|error| {
        let what = format!(
            "is not writable, so the development app cannot be saved: {error}; \
             set CLARIM_STATE_DIR to a writable directory, or configure an app"
        );
        Problem::new(directory.display(), what)
    })?;
    // Another process may have created it first; its file wins.
    read(directory)?.ok_or_else(|| {
        Problem::new(directory.display(), "the development app was removed just now; start again")
    })
}

fn create(directory: &Path) -> io::Result<()> {
    state_dir::prepare(directory)?;
    let Credentials { id, key, secret } = Credentials::random()?;
    let mut file =
        Builder::new().permissions(Permissions::from_mode(0o600)).tempfile_in(directory)?;
    write!(
        file,
        "# Development app, created because no app is configured. Delete this file to create a new one.\n\
         id = \"{id}\"\nkey = \"{key}\"\nsecret = \"{secret}\"\n"
    )?;
    match file.persist_noclobber(directory.join(FILE)) {
        Err(failed) if failed.error.kind() != io::ErrorKind::AlreadyExists => Err(failed.error),
        _ => Ok(()),
    }
}
