//! Which names in `jobs/` are job files, and what moved files are called. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::problem::printable;

/// The longest file name that Linux filesystems take.
const NAME_BYTES_MAX: usize = 255;

/// What the report beside a rejected file has behind that file's name. The name is kept short
/// enough for both.
pub const ERROR_SUFFIX: &str = ".error.txt";

/// Folders and files of systems and editors that are no concern of ours; see also [`is_foreign`].
const FOREIGN: [&[u8]; 4] = [b"@eaDir", b"__MACOSX", b"Thumbs.db", b"desktop.ini"];

/// Job files are called `*.toml`, in lower case and without a leading dot. Everything else is left
/// alone, so a writer may use `x.toml.part`, `.x.toml` or any other name until the file is whole.
pub fn is_job(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.ends_with(b".toml") && !name.starts_with(b".")
}

/// Whether a folder of this name is passed over in silence: it is hidden, or another program made
/// it for itself.
pub fn is_foreign(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b".") || FOREIGN.contains(&name)
}

/// Whether the name can stand in a log, a page and a terminal as it is.
pub fn is_plain(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| printable(name) == name)
}

/// The name as we write it: itself where it is plain, as every job's is; else escaped, with no
/// backslash left that could be taken for a part of the name.
pub fn shown(name: &OsStr) -> String {
    match name.to_str() {
        Some(plain) if is_plain(name) => plain.to_owned(),
        _ => printable(&name.to_string_lossy()).replace('\\', "_"),
    }
}

/// `prefix` and as much of the end of `name` as fits beside it, with room for the error file's
/// suffix.
pub fn prefixed(prefix: &str, name: &str) -> String {
    let room = NAME_BYTES_MAX - ERROR_SUFFIX.len() - prefix.len();
    let start = name.ceil_char_boundary(name.len().saturating_sub(room));
    format!("{prefix}{}", &name[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_names_that_end_in_toml_are_jobs() {
        for name in ["a.toml", "-rf.toml", "a b.toml", "猫.toml", "x.part.toml"] {
            assert!(is_job(OsStr::new(name)), "{name}");
        }
        for name in [
            "a.TOML",
            "a.toml~",
            ".a.toml",
            "..toml",
            ".toml",
            "a.toml.part",
            "a.toml.swp",
            "a.txt",
            "toml",
        ] {
            assert!(!is_job(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn names_that_could_fool_a_reader_are_not_plain() {
        for name in [&b"a\nb.toml"[..], b"\x1b[2J.toml", b"\xff.toml", "\u{202e}a.toml".as_bytes()]
        {
            let name = OsStr::from_bytes(name);
            assert!(is_job(name) && !is_plain(name), "{name:?}");
            assert!(is_plain(OsStr::new(&shown(name))), "{name:?}");
        }
        for name in ["été 猫.toml", "night\\fox.toml"] {
            assert!(is_plain(OsStr::new(name)));
            assert_eq!(
                shown(OsStr::new(name)),
                name,
                "moved by this name: it must be the file's own"
            );
        }
    }

    #[test]
    fn a_long_name_keeps_its_end_and_leaves_room_for_the_error_file() {
        let name = "猫".repeat(83) + ".toml";
        let long = prefixed("123456-", &name);
        assert!(long.starts_with("123456-猫") && long.ends_with("猫.toml"));
        assert!(long.len() + ERROR_SUFFIX.len() <= NAME_BYTES_MAX);
        assert_eq!(prefixed("1-", "a.toml"), "1-a.toml");
    }
}
