//! What files in `jobs/` are called: by the user, by us once they have an identity, and where they
//! are moved to. Pure.

use std::ffi::OsStr;

use crate::job::origin::DropId;
use crate::problem::printable;

/// The longest file name that Linux filesystems take.
const NAME_BYTES_MAX: usize = 255;

/// What the report beside a rejected file has behind that file's name. The name is kept short
/// enough for both.
pub const ERROR_SUFFIX: &str = ".error.txt";

/// What the name of a file begins with that has its identity: `.taken-ID-NAME`. Hidden, so that
/// `jobs/*.toml` does not name it.
const TAKEN: &str = ".taken-";

/// What a job is called of whose own name nothing can be kept.
const NAMELESS: &str = "job";

/// The name that a file bears in `jobs/` from when it has its identity until it is moved away.
pub fn taken(id: DropId, name: &str) -> String {
    prefixed(&format!("{TAKEN}{id}-"), name)
}

/// The identity and the name that [`taken`] put together; `None` for other names.
pub fn parse_taken(name: &OsStr) -> Option<(DropId, String)> {
    let (id, rest) = name.to_str()?.strip_prefix(TAKEN)?.split_once('-')?;
    let id = (id.len() == DropId::TEXT_BYTES).then(|| id.parse().ok())??;
    Some((id, clean(OsStr::new(rest))))
}

/// The name as people read it and as everything of ours calls the file: in UTF-8, without
/// characters that nobody sees or that move others, and ending in `.toml` in lower case where it
/// ends so in any.
pub fn clean(name: &OsStr) -> String {
    let seen: String = name.to_string_lossy().chars().filter_map(visible).collect();
    let seen = seen.trim();
    match without_extension(seen) {
        Some(stem) => format!("{}.toml", or_nameless(stem)),
        None => or_nameless(seen).to_owned(),
    }
}

fn or_nameless(text: &str) -> &str {
    match text.trim_start_matches('.').trim() {
        "" => NAMELESS,
        text => text,
    }
}

/// What a character of a name is shown as: white space as a space; what a terminal would obey, and
/// marks without width, not at all. The joiners stay, because some scripts are not read without.
fn visible(c: char) -> Option<char> {
    match c {
        char::REPLACEMENT_CHARACTER => Some('_'),
        '\u{200c}' | '\u{200d}' => Some(c),
        '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}' => None,
        c if c.is_whitespace() => Some(' '),
        c if printable(c.encode_utf8(&mut [0; 4])).len() == c.len_utf8() => Some(c),
        _ => None,
    }
}

/// The part in front of `.toml`, in whatever case.
pub fn without_extension(name: &str) -> Option<&str> {
    let start = name.len().checked_sub(".toml".len())?;
    let is_job = name.is_char_boundary(start) && name[start..].eq_ignore_ascii_case(".toml");
    is_job.then(|| &name[..start])
}

/// `prefix` and as much of the end of `name` as fits beside it, with room for the error file's
/// suffix.
pub fn prefixed(prefix: &str, name: &str) -> String {
    let room = NAME_BYTES_MAX - ERROR_SUFFIX.len() - prefix.len();
    let start = name.ceil_char_boundary(name.len().saturating_sub(room));
    format!("{prefix}{}", &name[start..])
}

/// What people call the file, also while it bears the name that has its identity.
pub fn shown(name: &OsStr) -> String {
    parse_taken(name).map_or_else(|| clean(name), |(_, shown)| shown)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    /// case B: such names were refused, though nothing but taste spoke against them; newcomer 26.
    #[test]
    fn any_name_is_taken_as_what_is_seen_of_it() {
        for (name, cleaned) in [
            ("été 猫.toml", "été 猫.toml"),
            ("中文.toml", "中文.toml"),
            ("night\\fox.toml", "night\\fox.toml"),
            ("-rf.toml", "-rf.toml"),
            ("\u{200e}fox.toml", "fox.toml"),
            ("fox\u{202e}.toml", "fox.toml"),
            ("fox.toml\u{200e}", "fox.toml"),
            ("a\nb\t.toml", "a b.toml"),
            ("\u{1b}[2J.toml", "[2J.toml"),
            ("\u{feff}.toml", "job.toml"),
            ("\u{200e}..fox.toml", "fox.toml"),
            ("FOX.Toml", "FOX.toml"),
            ("می\u{200c}خواهم.toml", "می\u{200c}خواهم.toml"),
        ] {
            assert_eq!(clean(OsStr::new(name)), cleaned, "{name:?}");
        }
        assert_eq!(clean(OsStr::from_bytes(b"f\xffx.toml")), "f_x.toml");
        assert_eq!(clean(OsStr::from_bytes(b"\x01")), "job");
    }

    #[test]
    fn a_file_bears_its_identity_and_its_name() {
        let id = DropId(7);
        let name = taken(id, "red-fox.toml");
        assert_eq!(name, ".taken-00000000000000000000000000000007-red-fox.toml");
        assert_eq!(parse_taken(OsStr::new(&name)), Some((id, "red-fox.toml".to_owned())));
        let long = taken(id, &("猫".repeat(83) + ".toml"));
        let (_, cut) = parse_taken(OsStr::new(&long)).expect("ours");
        assert_eq!(taken(id, &cut), long, "the same name again after a start");
        for other in [".taken-7-fox.toml", ".taken--fox.toml", ".taken", "taken-fox.toml", ".toml"]
        {
            assert_eq!(parse_taken(OsStr::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_end_and_leaves_room_for_the_error_file() {
        let name = "猫".repeat(83) + ".toml";
        let long = prefixed("123456-", &name);
        assert!(long.starts_with("123456-猫") && long.ends_with("猫.toml"));
        assert!(long.len() + ERROR_SUFFIX.len() <= NAME_BYTES_MAX);
        assert_eq!(prefixed("000001-", "a.toml"), "000001-a.toml");
    }
}
