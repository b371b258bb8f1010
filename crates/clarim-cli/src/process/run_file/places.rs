//! The directories that may hold run files.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use clarim_config::prepare_state_dir;
use rustix::process::{geteuid, getuid};

/// The directory of run files that a system service has.
const OF_SERVICES: &str = "/run/clarim";

/// A directory for run files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunDir {
    pub(super) path: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Only this user, or root, can write in its parent.
    Private,
    /// Everybody can create it, in a directory for temporary files.
    Temporary,
    /// The state directory of the settings, which depends on the working directory.
    State,
}

impl RunDir {
    fn new(path: impl Into<PathBuf>, kind: Kind) -> Self {
        Self { path: path.into(), kind }
    }

    /// Creates the directory if it does not exist.
    pub(super) fn prepare(&self) -> io::Result<()> {
        if self.kind == Kind::State {
            return prepare_state_dir(&self.path);
        }
        match DirBuilder::new().mode(0o755).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if self.kind == Kind::Temporary && !is_own(&self.path)? {
            return Err(io::Error::other("it belongs to another user"));
        }
        Ok(())
    }
}

/// Whether a path is a directory of this user in which nobody else can write. Anybody can create a directory
/// of this name.
fn is_own(path: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    let is_private = metadata.mode() & 0o022 == 0;
    Ok(metadata.is_dir() && metadata.uid() == geteuid().as_raw() && is_private)
}

/// The directories in which a server of this user may write its run file, the best one first. All but the
/// last are the same in every working directory.
pub(super) fn own(runtime_dir: Option<&Path>, state_dir: &Path) -> Vec<RunDir> {
    let temporary = format!("clarim-{}", getuid().as_raw());
    let runtime_dir = runtime_dir.filter(|path| path.is_absolute());
    let of_user = runtime_dir.map(|path| RunDir::new(path.join("clarim"), Kind::Private));
    let others = [
        RunDir::new(OF_SERVICES, Kind::Private),
        RunDir::new(std::env::temp_dir().join(temporary), Kind::Temporary),
        RunDir::new(state_dir, Kind::State),
    ];
    of_user.into_iter().chain(others).collect()
}

/// The directories in which any server may have written its run file, those of this user first.
pub(super) fn all(runtime_dir: Option<&Path>, state_dir: &Path) -> Vec<RunDir> {
    let mut all = own(runtime_dir, state_dir);
    // Only root and the same user may signal a server.
    if geteuid().is_root() {
        let of_users = entries(Path::new("/run/user")).map(|user| user.join("clarim"));
        let temporary = entries(&std::env::temp_dir()).filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("clarim-"))
        });
        let others = of_users.chain(temporary).map(|path| RunDir::new(path, Kind::Private));
        all.extend(others);
    }
    all
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_places_but_the_last_are_the_same_in_every_working_directory() {
        let places = own(Some(Path::new("/run/user/7")), Path::new(".clarim"));
        assert_eq!(places[0].path, Path::new("/run/user/7/clarim"));
        let absolute = places.iter().filter(|place| place.path.is_absolute()).count();
        assert_eq!(absolute, places.len() - 1);
        // A relative XDG_RUNTIME_DIR is invalid.
        assert_eq!(own(Some(Path::new("run")), Path::new(".clarim")), places[1..]);
    }

    #[test]
    fn a_temporary_directory_of_somebody_else_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clarim-0");
        let place = RunDir::new(&path, Kind::Temporary);
        place.prepare().unwrap();
        place.prepare().unwrap();
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink(directory.path(), &path).unwrap();
        place.prepare().unwrap_err();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        place.prepare().unwrap_err();
    }
}
