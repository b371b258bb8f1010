//! The journal of occupants: the channels and users that backends know of, in a file that survives a crash.
//!
//! A node that is killed sends no `member_removed` and no `channel_vacated`. When it starts again, it reads
//! its reports here, and reports the leaves of clients that do not come back.
//!
//! A line is a JSON array: `["+", app, channel]` or `["-", app, channel, user]`. The last line may be cut.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clarim_hub::{Apps, ChannelEvent, ChannelKey, Occupant};
use clarim_protocol::ChannelName;

/// Lines beyond two for each occupant, after which the file is written anew.
const SLACK: usize = 10_000;

/// An occupant by names that stay valid in the next run: app id, channel and user.
type Entry = (String, String, Option<String>);

/// The journal.
#[derive(Debug)]
pub(super) struct Occupants {
    path: PathBuf,
    /// Absent if it must be written anew, because the disk was full.
    file: Option<File>,
    lines: usize,
    reported: HashSet<Entry>,
}

impl Occupants {
    /// Opens the file, or creates it.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut reported = HashSet::new();
        for line in String::from_utf8_lossy(&text).lines() {
            match parse(line) {
                Some((true, entry)) => _ = reported.insert(entry),
                Some((false, entry)) => _ = reported.remove(&entry),
                None => tracing::warn!(file = %path.display(), "ignoring a truncated line"),
            }
        }
        let file = match write(&path, &reported) {
            Ok(file) => Some(file),
            // The old file has everything.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => None,
            Err(error) => return Err(error),
        };
        Ok(Self { path, file, lines: reported.len(), reported })
    }

    /// The leaves of all occupants that are in the journal. Forgets those of apps that no longer exist.
    pub(super) fn leaves(&mut self, apps: &Apps) -> Vec<ChannelEvent> {
        let mut leaves = Vec::new();
        self.reported.retain(|(app, channel, user)| {
            let app = apps.find_by_id(app);
            let name = ChannelName::parse(channel, usize::MAX).ok();
            let Some((app, name)) = app.zip(name) else { return false };
            let channel = ChannelKey { app, name };
            leaves.push(Occupant { channel, user: user.as_deref().map(Into::into) }.left());
            true
        });
        // A channel is vacated after its members have left.
        leaves.sort_by_key(|leave| matches!(leave, ChannelEvent::Vacated(_)));
        leaves
    }

    /// Records an event that is about to be sent.
    pub(super) fn record(&mut self, apps: &Apps, event: &ChannelEvent) -> io::Result<()> {
        let Some((occupant, is_leave)) = event.occupant() else { return Ok(()) };
        let app = apps.get(occupant.channel.app).id.clone();
        let channel = occupant.channel.name.as_str().to_owned();
        let entry = (app, channel, occupant.user.map(String::from));
        let line = line(!is_leave, &entry);
        let is_new =
            if is_leave { self.reported.remove(&entry) } else { self.reported.insert(entry) };
        if !is_new {
            return Ok(());
        }
        let has_room = self.lines <= 2 * self.reported.len() + SLACK;
        if let Some(file) = self.file.as_mut().filter(|_| has_room) {
            self.lines += 1;
            // Otherwise the line may be cut.
            return file.write_all(line.as_bytes()).inspect_err(|_| self.file = None);
        }
        self.file = Some(write(&self.path, &self.reported)?);
        self.lines = self.reported.len();
        Ok(())
    }
}

fn line(is_there: bool, (app, channel, user): &Entry) -> String {
    let sign = if is_there { "+" } else { "-" };
    let mut line = match user {
        None => serde_json::json!([sign, app, channel]),
        Some(user) => serde_json::json!([sign, app, channel, user]),
    }
    .to_string();
    line.push('\n');
    line
}

fn parse(line: &str) -> Option<(bool, Entry)> {
    let mut parts = serde_json::from_str::<Vec<String>>(line).ok()?.into_iter();
    let is_there = match parts.next()?.as_str() {
        "+" => true,
        "-" => false,
        _ => return None,
    };
    Some((is_there, (parts.next()?, parts.next()?, parts.next())))
}

/// Writes a file beside the old one and puts it in its place, so that a crash leaves one of them whole.
fn write(path: &Path, reported: &HashSet<Entry>) -> io::Result<File> {
    let new = path.with_extension("new");
    let mut file = BufWriter::new(File::create(&new)?);
    for entry in reported {
        file.write_all(line(true, entry).as_bytes())?;
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    fs::rename(new, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clarim_hub::app::App;

    fn apps() -> Apps {
        Apps::new([App::new("1", "key", "secret")])
    }

    fn channel(apps: &Apps) -> ChannelKey {
        let name = ChannelName::parse("presence-room", 200).unwrap();
        ChannelKey { app: apps.find_by_id("1").unwrap(), name }
    }

    #[test]
    fn the_next_run_knows_who_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("occupants");
        let apps = apps();
        let room = channel(&apps);
        let mut journal = Occupants::open(path.clone()).unwrap();
        for event in [
            ChannelEvent::Occupied(room.clone()),
            ChannelEvent::MemberAdded(room.clone(), "ana \"\n".into()),
            ChannelEvent::MemberAdded(room.clone(), "ben".into()),
            ChannelEvent::MemberAdded(room.clone(), "ben".into()),
            ChannelEvent::MemberRemoved(room.clone(), "ben".into()),
            ChannelEvent::CacheMiss(room.clone()),
        ] {
            journal.record(&apps, &event).unwrap();
        }
        // A crash in the middle of a line.
        journal.file.as_mut().unwrap().write_all(b"[\"+\",\"1\",\"presence-room\",\"ca").unwrap();
        drop(journal);
        for _ in 0..2 {
            let leaves = Occupants::open(path.clone()).unwrap().leaves(&apps);
            let removed = ChannelEvent::MemberRemoved(room.clone(), "ana \"\n".into());
            assert_eq!(leaves, [removed, ChannelEvent::Vacated(room.clone())]);
        }
        let nobody = Apps::new([App::new("2", "other", "secret")]);
        assert_eq!(Occupants::open(path).unwrap().leaves(&nobody), [], "the app is gone");
    }

    #[test]
    fn the_file_does_not_grow_with_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("occupants");
        let apps = apps();
        let mut journal = Occupants::open(path.clone()).unwrap();
        for _ in 0..SLACK {
            journal.record(&apps, &ChannelEvent::Occupied(channel(&apps))).unwrap();
            journal.record(&apps, &ChannelEvent::Vacated(channel(&apps))).unwrap();
        }
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= SLACK + 2, "{lines} lines");
    }
}
