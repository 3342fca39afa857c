//! Whose a file or a folder is that this process may not use, and who can change that.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::Access as Permission;

use crate::spelling::without_codes;

/// May its group write to a file?
const GROUP_WRITES: u32 = 0o020;

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

/// What the system says of a file or folder at `path`; of one that belongs to somebody else also
/// whose it is, or the nearest folder above it that is there and closed.
pub fn told(path: &Path, error: &io::Error) -> String {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    let text = error.to_string();
    let words = without_codes(&text).into_owned();
    if !matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) {
        return words;
    }
    match path.ancestors().find_map(no_access) {
        Some(why) => format!("{words}: {why}"),
        None => words,
    }
}

fn foreign(path: &Path) -> String {
    let my_id = rustix::process::geteuid().as_raw();
    let me = name_in("/etc/passwd", my_id);
    // Of what lies in a closed folder only that folder is known.
    let seen = path.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?)));
    let Some((path, facts)) = seen else {
        return format!("you ({me}) have no access to {}", path.display());
    };
    let owner = name_in("/etc/passwd", facts.uid());
    let group = name_in("/etc/group", facts.gid());
    let path = path.display();
    if facts.uid() == my_id {
        return format!("{path} is yours, and closed to yourself: chmod u+rwX {path}");
    }
    let cure = match (facts.mode() & GROUP_WRITES, facts.uid()) {
        // What root does here would be closed to everybody else.
        (0, 0) => format!("take another folder, or make it yours: sudo chown {me} {path}"),
        (0, _) => format!("do this as {owner}, for instance: sudo -u {owner} zimaged ..."),
        _ => format!(
            "the members of the group {group} may: sudo usermod -aG {group} {me}, then log in again"
        ),
    };
    format!("{path} belongs to the user {owner}, and you ({me}) may not write to it; {cure}")
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

    // newcomer 32
    #[test]
    fn what_is_ones_own_is_opened_by_oneself_and_nobody_is_sent_to_become_root() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let told = foreign(folder.path());
        assert!(told.contains("is yours") && told.contains("chmod u+rwX"), "{told}");
        assert!(!foreign(Path::new("/")).contains("sudo -u root"));
    }

    #[test]
    fn only_what_is_not_allowed_is_somebody_s() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(told(Path::new("/"), &full), full.to_string());
    }
}
