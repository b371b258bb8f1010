//! `clarim install`: adds the variables that Laravel needs to its `.env`.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clarim_config::{Credentials, variable_name};
use tempfile::Builder;

use crate::error::{Access, CommandError};

/// The variables of an app's credentials.
const CREDENTIALS: [&str; 3] = ["REVERB_APP_ID", "REVERB_APP_KEY", "REVERB_APP_SECRET"];

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
    let Edit { new, added, filled, kept, broadcasts_elsewhere, may_whisper } =
        edit(old.as_deref().unwrap_or_default(), &Credentials::random()?);
    let is_changed = !added.is_empty() || !filled.is_empty();
    let was_public = is_changed && write(&file, &new).map_err(failed(Access::Write))?;
    let file = file.display();
    match &old {
        None => writeln!(out, "Created {file}, readable only by you:")?,
        Some(_) if !is_changed => writeln!(out, "Nothing to add to {file}.")?,
        Some(_) => writeln!(out, "Changed {file}:")?,
    }
    for name in &added {
        writeln!(out, "  + {name}")?;
    }
    for name in &filled {
        writeln!(out, "  = {name} (was empty)")?;
    }
    if !kept.is_empty() {
        writeln!(out, "Kept, because backend and pages may use these values already:")?;
    }
    for name in &kept {
        writeln!(out, "    {name}")?;
    }
    let is_new = |name: &&str| added.contains(name) || filled.contains(name);
    if CREDENTIALS.iter().any(is_new) && !CREDENTIALS.iter().all(is_new) {
        writeln!(
            out,
            "Some of the app's credentials are new and some were kept. Give every backend and page of this app the \
             values of this file."
        )?;
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
    /// Variables that were there without a value.
    filled: Vec<&'static str>,
    kept: Vec<&'static str>,
    broadcasts_elsewhere: bool,
    /// The app was served by Reverb, whose pages may send client events on public channels.
    may_whisper: bool,
}

fn edit(old: &[u8], credentials: &Credentials) -> Edit {
    let mut lines: Vec<Vec<u8>> =
        old.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
    let names: Vec<_> = lines.iter().map(|line| name_of(line)).collect();
    // The last of several lines counts.
    let line_of = |name: &str| names.iter().rposition(|it| it.as_deref() == Some(name));
    let value_of = |name: &str| Some(value(lines.get(line_of(name)?)?));
    let broadcasts_elsewhere = value_of("BROADCAST_CONNECTION")
        .is_some_and(|value| !value.is_empty() && value != "reverb");
    let has_key = value_of("REVERB_APP_KEY").is_some_and(|value| !value.is_empty());
    let may_whisper = has_key && !names.iter().flatten().any(|name| name.ends_with(WHISPERS));
    let line_end = if old.windows(2).any(|pair| pair == b"\r\n") { "\r\n" } else { "\n" };
    let mut added = Vec::new();
    let mut filled = Vec::new();
    let mut kept = Vec::new();
    let mut block = Vec::new();
    for (name, new) in variables(credentials) {
        match line_of(name) {
            None => {
                added.push(name);
                block.extend(format!("{name}={new}{line_end}").bytes());
            }
            Some(at) if value(&lines[at]).is_empty() => {
                filled.push(name);
                lines[at] = with_value(&lines[at], &new);
            }
            Some(_) => kept.push(name),
        }
    }
    let mut new = lines.concat();
    if !block.is_empty() && !old.is_empty() {
        let ends = if old.ends_with(b"\n") { 1 } else { 2 };
        new.extend(line_end.repeat(ends).bytes());
    }
    new.extend(block);
    Edit { new, added, filled, kept, broadcasts_elsewhere, may_whisper }
}

/// The name of the variable of a line, which may follow a byte order mark.
fn name_of(line: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(line);
    variable_name(line.trim_start_matches('\u{feff}')).map(str::to_owned)
}

/// The value of a line without quotes and comment. It is empty if it is `null` or `empty` for Laravel.
fn value(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let value = line.split_once('=').map_or("", |(_, value)| value).trim();
    let value = if value.starts_with('#') { "" } else { value };
    let value = value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
    match value.to_ascii_lowercase().as_str() {
        "null" | "(null)" | "empty" | "(empty)" => String::new(),
        _ => value.to_owned(),
    }
}

/// The line with a value in place of an empty one. A comment stays.
fn with_value(line: &[u8], value: &str) -> Vec<u8> {
    let at = line.iter().position(|&b| b == b'=').map_or(line.len(), |at| at + 1);
    let (name, old) = line.split_at(at);
    let end = old.iter().position(|&b| b == b'#' || b == b'\n' || b == b'\r').unwrap_or(old.len());
    let space = if old.get(end) == Some(&b'#') { " " } else { "" };
    [name, value.as_bytes(), space.as_bytes(), &old[end..]].concat()
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
            b"BROADCAST_CONNECTION=log\nX=\xff\n",
            b"\xef\xbb\xbfREVERB_APP_ID=7\r\nREVERB_APP_KEY=k\r\n",
        ] {
            let first = edit(old, &credentials);
            assert!(first.new.starts_with(old));
            let second = edit(&first.new, &Credentials::random().unwrap());
            assert_eq!((second.new, second.added.len()), (first.new, 0));
            assert!(first.filled.is_empty() && second.filled.is_empty());
        }
    }

    #[test]
    fn empty_values_are_filled_where_they_are() {
        let credentials = Credentials::random().unwrap();
        let Credentials { id, key, secret } = &credentials;
        let old = b"REVERB_APP_ID=\r\nexport REVERB_APP_KEY=\"\" # the key\r\n\
            REVERB_PORT=80\r\nREVERB_PORT=\r\nX=\xff\r\nREVERB_APP_SECRET=null";
        let edit = edit(old, &credentials);
        let lines = format!(
            "REVERB_APP_ID={id}\r\nexport REVERB_APP_KEY={key} # the key\r\nREVERB_PORT=80\r\nREVERB_PORT=8080\r\n"
        );
        let mut new = lines.into_bytes();
        new.extend(b"X=\xff\r\n");
        new.extend(
            format!("REVERB_APP_SECRET={secret}\r\n\r\nBROADCAST_CONNECTION=reverb\r\n").bytes(),
        );
        assert!(edit.new.starts_with(&new), "{}", String::from_utf8_lossy(&edit.new));
        assert_eq!(
            edit.filled,
            ["REVERB_APP_ID", "REVERB_APP_KEY", "REVERB_APP_SECRET", "REVERB_PORT"]
        );
        assert!(!edit.may_whisper && !edit.broadcasts_elsewhere);
        let bom = super::edit(b"\xef\xbb\xbfREVERB_APP_ID=\n", &credentials);
        assert!(bom.new.starts_with(format!("\u{feff}REVERB_APP_ID={id}\n").as_bytes()));
        assert!(!bom.added.contains(&"REVERB_APP_ID"));
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
