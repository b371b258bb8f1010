//! `clarim install`: adds the variables that Laravel needs to its `.env`.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clarim_config::{Credentials, variable_name};
use tempfile::Builder;

use crate::error::{Access, CommandError};

/// The setting for client events on public channels, without its prefix.
const WHISPERS: &str = "APP_CLIENT_EVENTS_ON_PUBLIC_CHANNELS";

pub(crate) fn run(directory: &Path, out: &mut dyn Write) -> Result<(), CommandError> {
    let file = directory.join(".env");
    let failed = |access| {
        let path = file.clone();
        move |source| CommandError::File { path, access, source }
    };
    let old = match fs::read(&file) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(Access::Read)(error)),
    };
    let Edit { new, added, kept, broadcasts_elsewhere, may_whisper } =
        edit(old.as_deref().unwrap_or_default(), &Credentials::random()?);
    let was_public = !added.is_empty() && write(&file, &new).map_err(failed(Access::Write))?;
    let file = file.display();
    match (&old, added.is_empty()) {
        (None, _) => writeln!(out, "Created {file}, readable only by you:")?,
        (Some(_), true) => writeln!(out, "Nothing to add to {file}.")?,
        (Some(_), false) => writeln!(out, "Added to {file}:")?,
    }
    for name in added {
        writeln!(out, "  + {name}")?;
    }
    if !kept.is_empty() {
        writeln!(out, "Not changed:")?;
    }
    for name in kept {
        writeln!(out, "    {name}")?;
    }
    if was_public {
        writeln!(
            out,
            "Every user of this machine could read {file}; now only its owner and group can. The web server needs one \
             of them."
        )?;
    }
    if broadcasts_elsewhere {
        writeln!(
            out,
            "BROADCAST_CONNECTION is not reverb, so Laravel broadcasts elsewhere. Set it to reverb."
        )?;
    }
    if may_whisper {
        writeln!(
            out,
            "Client events (whispers) on public channels are rejected, as by Pusher. Reverb accepts them: if your pages \
             send them, set REVERB_{WHISPERS}=true."
        )?;
    }
    Ok(())
}

/// The edit of a `.env` file.
struct Edit {
    /// The complete new file.
    new: Vec<u8>,
    added: Vec<&'static str>,
    kept: Vec<&'static str>,
    broadcasts_elsewhere: bool,
    /// The app was served by Reverb, whose pages may send client events on public channels.
    may_whisper: bool,
}

fn edit(old: &[u8], credentials: &Credentials) -> Edit {
    let text = String::from_utf8_lossy(old);
    let existing: Vec<_> = text.lines().filter_map(variable_name).collect();
    let mut added = Vec::new();
    let mut kept = Vec::new();
    let mut lines = Vec::new();
    for (name, value) in variables(credentials) {
        if existing.contains(&name) {
            kept.push(name);
        } else {
            added.push(name);
            lines.push(format!("{name}={value}"));
        }
    }
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut new = old.to_vec();
    if !lines.is_empty() {
        if !old.is_empty() && !old.ends_with(b"\n") {
            new.extend(line_end.bytes());
        }
        if !old.is_empty() {
            new.extend(line_end.bytes());
        }
        for line in lines {
            new.extend(line.bytes().chain(line_end.bytes()));
        }
    }
    let broadcasts_elsewhere = text
        .lines()
        .filter(|line| variable_name(line) == Some("BROADCAST_CONNECTION"))
        .filter_map(|line| line.split_once('='))
        .any(|(_, value)| value.trim().trim_matches(['"', '\'']) != "reverb");
    let may_whisper = existing.contains(&"REVERB_APP_KEY")
        && !existing.iter().any(|name| name.ends_with(WHISPERS));
    Edit { new, added, kept, broadcasts_elsewhere, may_whisper }
}

/// The variables as Laravel's own installer writes them.
fn variables(Credentials { id, key, secret }: &Credentials) -> [(&'static str, String); 11] {
    let text = str::to_owned;
    [
        ("BROADCAST_CONNECTION", text("reverb")),
        ("REVERB_APP_ID", id.clone()),
        ("REVERB_APP_KEY", key.clone()),
        ("REVERB_APP_SECRET", secret.clone()),
        ("REVERB_HOST", text("\"localhost\"")),
        ("REVERB_PORT", text("8080")),
        ("REVERB_SCHEME", text("http")),
        ("VITE_REVERB_APP_KEY", text("\"${REVERB_APP_KEY}\"")),
        ("VITE_REVERB_HOST", text("\"${REVERB_HOST}\"")),
        ("VITE_REVERB_PORT", text("\"${REVERB_PORT}\"")),
        ("VITE_REVERB_SCHEME", text("\"${REVERB_SCHEME}\"")),
    ]
}

/// Replaces the file atomically. It keeps its permissions, but other users than its owner and group may not
/// read the secret in it. Returns whether they could before.
fn write(file: &Path, text: &[u8]) -> io::Result<bool> {
    // A symbolic link is kept, and its target replaced.
    let target: PathBuf = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let old = fs::metadata(&target).map_or(0o600, |metadata| metadata.permissions().mode());
    let permissions = Permissions::from_mode(old & !0o007);
    let directory = target.parent().unwrap_or_else(|| Path::new("."));
    let mut new = Builder::new().prefix(".env.").tempfile_in(directory)?;
    new.write_all(text)?;
    new.as_file().set_permissions(permissions)?;
    new.as_file().sync_all()?;
    new.persist(target)?;
    Ok(old & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_bytes_are_kept_and_a_second_run_adds_nothing() {
        let credentials = Credentials::random().unwrap();
        for old in [
            &b""[..],
            b"APP_NAME='My App'",
            b"A=1\r\n\r\n# REVERB_APP_ID=no\r\nexport REVERB_PORT=9000\r\n",
            b"BROADCAST_CONNECTION=log\nREVERB_APP_KEY=\nX=\xff\n",
        ] {
            let first = edit(old, &credentials);
            assert!(first.new.starts_with(old));
            let second = edit(&first.new, &Credentials::random().unwrap());
            assert_eq!((second.new, second.added.len()), (first.new, 0));
        }
    }

    #[test]
    fn line_ends_match_the_file() {
        let edit = edit(b"A=1\r\nREVERB_PORT=1\r\n", &Credentials::random().unwrap());
        let text = String::from_utf8(edit.new).unwrap();
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        assert_eq!(edit.kept, ["REVERB_PORT"]);
    }

    #[test]
    fn an_app_of_reverb_is_told_of_whispers_on_public_channels() {
        let credentials = Credentials::random().unwrap();
        let may_whisper = |old: &str| edit(old.as_bytes(), &credentials).may_whisper;
        assert!(may_whisper("REVERB_APP_KEY=k\n"));
        assert!(!may_whisper("APP_NAME=Mine\n"));
        assert!(!may_whisper(
            "REVERB_APP_KEY=k\nREVERB_APP_CLIENT_EVENTS_ON_PUBLIC_CHANNELS=true\n"
        ));
    }

    #[test]
    fn another_broadcaster_is_reported() {
        let credentials = Credentials::random().unwrap();
        assert!(edit(b"BROADCAST_CONNECTION=log\n", &credentials).broadcasts_elsewhere);
        assert!(!edit(b"BROADCAST_CONNECTION=\"reverb\"\n", &credentials).broadcasts_elsewhere);
        assert!(!edit(b"", &credentials).broadcasts_elsewhere);
    }
}
