//! Which of the things in `jobs/` are job files, and what the user is told of the others. Pure.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

use super::name::{clean, parse_taken, without_extension};

/// What something in `jobs/` is to us, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A job file, with or without an identity.
    Job,
    /// Left alone, and told.
    Alone(Why),
    /// Hidden, a system's or ours: no concern of the user's.
    Silent,
}

/// Why something is left alone. For people, its text says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Why {
    Folder,
    /// Its writer has not given it its name yet.
    Unfinished,
    /// A program that keeps folders alike found two versions of the file.
    ConflictCopy,
    /// An editor's.
    Backup,
    /// `fox.toml.txt`: the system hides the real end of the name.
    HiddenExtension,
    /// Text, and so probably prompts.
    Prompts,
    Workflow,
    OtherName,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Folder => "jobs in a folder are not read: move its files out of it",
            Why::Unfinished => "taken once it is renamed to a name that ends in .toml",
            Why::ConflictCopy => {
                "a conflict copy of another file: rename it to have it rendered, or delete it"
            }
            Why::Backup => "an editor's copy: rename it to have it rendered, or delete it",
            Why::HiddenExtension => "rename it so that its name ends in .toml and nothing else",
            Why::Prompts => {
                "prompts, one in each line? zimaged submit --prompts FILE, or prompt_file in a job"
            }
            Why::Workflow => {
                "not a job: workflows of other programs are not read, see docs/job-file.md"
            }
            Why::OtherName => "not a job: the names of job files end in .toml",
        })
    }
}

/// Folders and files of systems, editors and ours.
const SILENT: [&str; 6] =
    ["accepted", "rejected", "@eaDir", "__MACOSX", "Thumbs.db", "desktop.ini"];

/// How files end that are being written, loaded down or edited; in lower case.
const UNFINISHED: [&str; 11] = [
    ".part",
    ".partial",
    ".filepart",
    ".tmp",
    ".temp",
    ".crdownload",
    ".download",
    ".swp",
    ".swx",
    ".lock",
    "___jb_tmp___",
];

/// How the copies end that editors and people keep, before `.toml` or behind it.
const BACKUPS: [&str; 9] =
    ["~", "#", ".bak", ".backup", ".old", ".orig", ".save", ".tmp", "___jb_old___"];

/// What is in the names that programs give to the second version of a file: Syncthing, Nextcloud
/// and ownCloud, Dropbox (two), Seafile, Google Drive, Resilio, in lower case. A digit stands for
/// the date that follows.
const CONFLICTS: [&str; 8] = [
    ".sync-conflict-0",
    "_conflict-0",
    "conflicted copy",
    "(case conflict",
    "(sfconflict ",
    "[conflict]",
    ".conflict.",
    "(conflict copy",
];

impl Kind {
    /// What something that is called `name` is; `is_folder` where that is known.
    pub fn of(name: &OsStr, is_folder: bool) -> Kind {
        let is_hidden = name.as_bytes().starts_with(b".");
        if parse_taken(name).is_some() {
            return Kind::Job;
        }
        if is_hidden || SILENT.iter().any(|silent| name == *silent) {
            return Kind::Silent;
        }
        match why_alone(&clean(name)) {
            _ if is_folder => Kind::Alone(Why::Folder),
            Some(why) => Kind::Alone(why),
            None => Kind::Job,
        }
    }
}

fn why_alone(name: &str) -> Option<Why> {
    let lower = name.to_lowercase();
    let ends_in = |ends: &[&str], name: &str| ends.iter().any(|end| name.ends_with(end));
    match without_extension(&lower) {
        Some(stem) if is_conflict(stem) => Some(Why::ConflictCopy),
        Some(stem) if stem.starts_with(['~', '#']) || ends_in(&BACKUPS, stem) => Some(Why::Backup),
        Some(_) => None,
        None if ends_in(&UNFINISHED, &lower) => Some(Why::Unfinished),
        None if ends_in(&BACKUPS, &lower) => Some(Why::Backup),
        None if lower.ends_with(".toml.txt") => Some(Why::HiddenExtension),
        None if lower.ends_with(".txt") => Some(Why::Prompts),
        None if ends_in(&[".json", ".yaml", ".yml"], &lower) => Some(Why::Workflow),
        None => Some(Why::OtherName),
    }
}

fn is_conflict(stem: &str) -> bool {
    let dated: String = stem.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let dated = dated + ".";
    CONFLICTS.iter().any(|conflict| dated.contains(conflict))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> Kind {
        Kind::of(OsStr::new(name), false)
    }

    /// newcomer 19: `.TOML` was ignored.
    #[test]
    fn visible_names_that_end_in_toml_are_jobs() {
        let jobs = ["a.toml", "-rf.toml", "a b.toml", "猫.toml", "x.part.toml", "x.TOML"];
        let honest = ["conflict.toml", "family-conflict.toml", "fox (1).toml", "old.toml"];
        let odd = ["\u{200e}fox.toml", "fox.toml\u{200e}", "a\nb.toml"];
        for name in [&jobs[..], &honest, &odd].concat() {
            assert_eq!(kind(name), Kind::Job, "{name:?}");
        }
        assert_eq!(Kind::of(OsStr::from_bytes(b"\xff.toml"), false), Kind::Job);
        for name in [".a.toml", "..toml", ".toml", ".taken-fox.toml", "accepted", "desktop.ini"] {
            assert_eq!(kind(name), Kind::Silent, "{name}");
        }
    }

    /// newcomer 19: such names were ignored without a word.
    #[test]
    fn other_names_are_left_alone_for_a_reason() {
        for (name, why) in [
            ("fox.toml.txt", Why::HiddenExtension),
            ("FOX.TOML.TXT", Why::HiddenExtension),
            ("prompts.txt", Why::Prompts),
            ("workflow.json", Why::Workflow),
            ("a.toml.part", Why::Unfinished),
            ("a.toml.swp", Why::Unfinished),
            ("a.TMP", Why::Unfinished),
            ("toml", Why::OtherName),
            ("fox.png", Why::OtherName),
        ] {
            assert_eq!(kind(name), Kind::Alone(why), "{name}");
        }
        assert_eq!(Kind::of(OsStr::new("a.toml"), true), Kind::Alone(Why::Folder));
        assert_eq!(Kind::of(OsStr::new(".git"), true), Kind::Silent);
    }

    /// case F: such copies became jobs of their own.
    #[test]
    fn conflict_copies_and_editors_copies_are_left_alone() {
        for name in [
            "fox.sync-conflict-20260101-120000-ABCDEFG.toml",
            "fox (conflicted copy 2026-01-01 120000).toml",
            "fox_conflict-20260101-120000.toml",
            "fox (Anna's conflicted copy 2026-01-01).toml",
            "fox (Case Conflict).toml",
            "fox (Case Conflict 1).toml",
            "fox (SFConflict anna@example.org 2026-01-01-12-00-00).toml",
            "fox[Conflict].toml",
            "fox.Conflict.toml",
        ] {
            assert_eq!(kind(name), Kind::Alone(Why::ConflictCopy), "{name}");
        }
        for name in [
            "fox.toml~",
            "fox.toml.~1~",
            "#fox.toml#",
            "~$fox.toml",
            "fox~.toml",
            "fox.bak.toml",
            "fox.toml.bak",
            "fox.toml.orig",
            "fox.tmp.toml",
            "fox.toml.save",
            "fox.toml___jb_old___",
        ] {
            assert_eq!(kind(name), Kind::Alone(Why::Backup), "{name}");
        }
    }
}
