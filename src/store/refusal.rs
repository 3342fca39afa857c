//! Why a database cannot be opened, in words that name the file and the cure.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::Access as Permission;

use super::StoreError;
use super::error::{code, primary_code};
use crate::files;

/// May its group write to a file?
const GROUP_WRITES: u32 = 0o020;

/// What SQLite said when `path` was opened, as far as the file system explains it.
pub(super) fn explain(path: &Path, error: StoreError) -> StoreError {
    let unusable = |why: String| StoreError::Unusable(format!("{}: {why}", path.display()));
    match error {
        StoreError::Unusable(why) => unusable(why),
        StoreError::Starved(error) | StoreError::Disk(error) => match obstacle(path) {
            Obstacle::Lasting(why) => unusable(why),
            Obstacle::Passing(why) => StoreError::Starved(format!("{}: {why}", path.display())),
            Obstacle::None => StoreError::Starved(format!("{}: {error}", path.display())),
        },
        StoreError::Sql(error) if primary_code(&error) == Some(code::READ_ONLY) => {
            match obstacle(path) {
                Obstacle::Lasting(why) | Obstacle::Passing(why) => unusable(why),
                Obstacle::None => unusable(format!("it cannot be written ({error})")),
            }
        }
        StoreError::Sql(error) => unusable(error.to_string()),
        other => other,
    }
}

/// What the file system has against opening the database.
enum Obstacle {
    None,
    /// Somebody has to do something about it.
    Lasting(String),
    /// Too few descriptors, a disk that fails: tried again, it may work.
    Passing(String),
}

fn obstacle(path: &Path) -> Obstacle {
    let opened = File::options().read(true).write(true).open(path).map(drop);
    let folder = path.parent().unwrap_or(path);
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_dir() => {
            Obstacle::Lasting(format!("it cannot be opened; is its folder there? ({error})"))
        }
        Err(error) if files::may_pass(&error) => Obstacle::Passing(error.to_string()),
        Err(error) => Obstacle::Lasting(no_access(path).unwrap_or_else(|| error.to_string())),
        // A database in WAL mode needs files beside it.
        Ok(()) => match no_access(folder) {
            Some(why) => Obstacle::Lasting(why),
            None => Obstacle::None,
        },
    }
}

/// Why this process may not write to `path`, and who can change that; `None` where it may.
pub fn no_access(path: &Path) -> Option<String> {
    let refused = rustix::fs::accessat(
        rustix::fs::CWD,
        path,
        Permission::READ_OK | Permission::WRITE_OK,
        rustix::fs::AtFlags::EACCESS,
    );
    match refused {
        Ok(()) => None,
        Err(rustix::io::Errno::ROFS) => {
            Some(format!("{} lies on a read-only filesystem", path.display()))
        }
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => Some(foreign(path)),
        Err(_) => None,
    }
}

fn foreign(path: &Path) -> String {
    let me = name_in("/etc/passwd", rustix::process::geteuid().as_raw());
    let Ok(facts) = fs::metadata(path) else {
        return format!("you ({me}) have no access to {}", path.display());
    };
    let owner = name_in("/etc/passwd", facts.uid());
    let group = name_in("/etc/group", facts.gid());
    let cure = match facts.mode() & GROUP_WRITES {
        0 => format!("do this as {owner}, for instance: sudo -u {owner} zimaged ..."),
        _ => format!(
            "the members of the group {group} may: sudo usermod -aG {group} {me}, then log in again"
        ),
    };
    format!(
        "{} belongs to the user {owner}, and you ({me}) may not write to it; {cure}",
        path.display()
    )
}

/// The name of a user or a group in such a file; its number where that does not say. Accounts
/// from a directory service have none there.
fn name_in(file: &str, id: u32) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let named = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id.to_string()).then_some(name)
    });
    named.map_or_else(|| id.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_have_their_names_and_unknown_ones_their_numbers() {
        assert_eq!(name_in("/etc/passwd", 0), "root");
        assert_eq!(name_in("/etc/group", 0), "root");
        assert_eq!(name_in("/etc/passwd", 4_000_000_123), "4000000123");
        assert_eq!(name_in("/nowhere", 7), "7");
    }
}
