//! The folders of the queue, and the room on their disks.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::statvfs;

use super::{Aspect, Finding};
use crate::access::no_access;
use crate::config::Config;
use crate::intake;
use crate::spelling::memory;

/// With less room than this the next large picture, or the database's log, may not fit.
const FREE_BYTES_MIN: u64 = 64 << 20;

/// With less room than this a night's pictures may not fit.
const FREE_BYTES_LOW: u64 = 1 << 30;

/// Each picture needs two names for a moment, the database three.
const FREE_FILES_MIN: u64 = 16;

/// The folders that a daemon writes to, with their keys in `daemon.toml`.
fn written(config: &Config) -> [(&'static str, &Path); 3] {
    [("jobs", &config.jobs), ("outputs", &config.outputs), ("state", &config.state)]
}

/// Whether they can be used, or made.
pub(super) fn folders(config: &Config) -> Vec<Finding> {
    let faults = written(config).into_iter().filter_map(|(key, path)| fault(key, path));
    let mut findings: Vec<Finding> =
        faults.map(|told| Finding::wrong(Aspect::Folders, told)).collect();
    if intake::is_open_to_all(&config.jobs) {
        let told = format!(
            "everybody on this machine may drop jobs into {0}; to keep others out: chmod o-w {0}",
            config.jobs.display()
        );
        findings.push(Finding::warning(Aspect::Folders, told));
    }
    if findings.is_empty() {
        let paths = written(config).map(|(_, path)| path.display().to_string());
        findings.push(Finding::ok(Aspect::Folders, paths.join(", ")));
    }
    findings
}

/// Why a folder cannot be used, and what mends it.
fn fault(key: &str, path: &Path) -> Option<String> {
    let there = existing(path)?;
    if !there.is_dir() {
        return Some(format!(
            "{} is no folder: move it away, or name another place: {key} of [folders] in \
             daemon.toml",
            there.display()
        ));
    }
    no_access(there)
}

/// The path, or the nearest one above it that there is.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.symlink_metadata().is_ok())
}

/// The room on each disk that is written to.
pub(super) fn disks(config: &Config) -> Vec<Finding> {
    let mut devices = Vec::new();
    let mut findings = Vec::new();
    for (_, path) in written(config) {
        let Some(there) = existing(path) else { continue };
        let Ok(facts) = there.metadata() else { continue };
        if !devices.contains(&facts.dev()) {
            devices.push(facts.dev());
            findings.push(disk(there));
        }
    }
    findings
}

fn disk(path: &Path) -> Finding {
    match statvfs(path) {
        Err(error) => Finding::wrong(Aspect::Disk, format!("{}: {error}", path.display())),
        Ok(disk) => {
            let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
            // Some filesystems have no number of files.
            room(path, free_bytes, (disk.f_files > 0).then_some(disk.f_favail))
        }
    }
}

/// Whether so much room is enough.
fn room(path: &Path, free_bytes: u64, free_files: Option<u64>) -> Finding {
    let (path, free) = (path.display(), memory(free_bytes));
    if free_files.is_some_and(|files| files < FREE_FILES_MIN) {
        let told = format!("no more files can be made on the disk of {path} (inodes): remove some");
        Finding::wrong(Aspect::Disk, told)
    } else if free_bytes < FREE_BYTES_MIN {
        let told = format!("the disk of {path} is full ({free} free): make room");
        Finding::wrong(Aspect::Disk, told)
    } else if free_bytes < FREE_BYTES_LOW {
        let told = format!("{free} free on the disk of {path}: a picture takes 1 to 10 MiB");
        Finding::warning(Aspect::Disk, told)
    } else {
        Finding::ok(Aspect::Disk, format!("{free} free on the disk of {path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_disk_is_judged_by_its_room_and_by_the_files_that_it_can_still_hold() {
        let verdict = |bytes, files| room(Path::new("/x"), bytes, files).verdict;
        assert_eq!(verdict(5 << 30, Some(1000)), Verdict::Ok);
        assert_eq!(verdict(5 << 30, None), Verdict::Ok, "the filesystem does not count files");
        assert_eq!(verdict(500 << 20, Some(1000)), Verdict::Warning);
        assert_eq!(verdict(1 << 20, Some(1000)), Verdict::Wrong);
        assert_eq!(verdict(5 << 30, Some(3)), Verdict::Wrong);
    }
}
