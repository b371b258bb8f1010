//! The app for development: made when none is configured, and the same at every start.

use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Deserialize;
use tempfile::Builder;

use super::source::Problem;
use super::state_dir;

/// Its name in the state directory.
pub(crate) const FILE: &str = "app.toml";

const DIGITS: &[u8] = b"0123456789";
const LETTERS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// What a backend and the server share.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Id of the app.
    pub id: String,
    /// Public key.
    pub key: String,
    /// What the backend signs with.
    pub secret: String,
}

impl Credentials {
    /// A 6-digit id, and a key and a secret of 20 lower-case letters and digits.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub fn random() -> io::Result<Self> {
        // The first digit apart: an id is not to begin with 0.
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
    // Bytes from here on would make the first letters of the alphabet likelier.
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

/// The development app of this state directory; `None`: there is none yet.
pub(crate) fn read(directory: &Path) -> Result<Option<Credentials>, Problem> {
    let file = directory.join(FILE);
    match fs::read_to_string(&file) {
        // The error's own text quotes what it stumbled over, which may be the secret.
        Ok(text) => toml::from_str(&text).map(Some).map_err(|_| {
            let what = "does not hold id, key and secret; delete it, and a new app is made";
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

/// The development app of this state directory, made if there is none yet.
pub(crate) fn read_or_make(directory: &Path) -> Result<Credentials, Problem> {
    if let Some(credentials) = read(directory)? {
        return Ok(credentials);
    }
    make(directory).map_err(|error| {
        let what = format!(
            "cannot be written, so that no development app can be kept there: {error}; \
             set CLARIM_STATE_DIR to a directory that can, or configure an app"
        );
        Problem::new(directory.display(), what)
    })?;
    // Another start may have been faster; what is in the file counts.
    read(directory)?.ok_or_else(|| {
        Problem::new(directory.display(), "the development app has just been removed")
    })
}

fn make(directory: &Path) -> io::Result<()> {
    state_dir::prepare(directory)?;
    let Credentials { id, key, secret } = Credentials::random()?;
    let mut file =
        Builder::new().permissions(Permissions::from_mode(0o600)).tempfile_in(directory)?;
    write!(
        file,
        "# The app for development, made because none is configured. Delete this file for a new one.\n\
         id = \"{id}\"\nkey = \"{key}\"\nsecret = \"{secret}\"\n"
    )?;
    match file.persist_noclobber(directory.join(FILE)) {
        Err(failed) if failed.error.kind() != io::ErrorKind::AlreadyExists => Err(failed.error),
        _ => Ok(()),
    }
}
