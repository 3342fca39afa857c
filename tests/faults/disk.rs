//! Filesystems of a test's own, mounted while they live. For root.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::house::PATIENCE;

/// `EXT4_IOC_SHUTDOWN`.
const SHUTDOWN: libc::c_ulong = 0x8004_587d;

/// The journal stays as it is on the disk.
static NO_LOG_FLUSH: u32 = 2;

const DISK_BYTES: u64 = 256 << 20;

/// A disk whose power can go, mounted while this lives.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    pub fn new() -> Disk {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk { folder };
        fs::File::create(disk.image()).unwrap().set_len(DISK_BYTES).unwrap();
        fs::create_dir(disk.root()).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(disk.image()));
        disk.mount();
        disk
    }

    /// A folder that is not on the disk.
    pub fn beside(&self) -> &Path {
        self.folder.path()
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Nothing comes to the disk because time has passed.
    pub fn mount(&self) {
        let options = ["-o", "loop,commit=600"];
        run(Command::new("mount").args(options).arg(self.image()).arg(self.root()));
    }

    pub fn unmount(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !Command::new("umount").arg(self.root()).output().unwrap().status.success() {
            assert!(Instant::now() < deadline, "{} stays mounted", self.root().display());
            sleep(Duration::from_millis(10));
        }
    }

    /// The power goes.
    pub fn cut(&self) {
        let root = fs::File::open(self.root()).unwrap();
        // SAFETY: the descriptor is open, and the call reads one number, which lives through it.
        unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &raw const NO_LOG_FLUSH) };
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.root()).output();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A folder on a filesystem of its own, while this lives.
pub struct Mount(PathBuf);

impl Mount {
    /// A small disk in memory.
    pub fn small(at: PathBuf, options: &str) -> Mount {
        run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(&at));
        Mount(at)
    }

    /// Another folder in its place.
    pub fn of_folder(folder: &Path, at: PathBuf) -> Mount {
        run(Command::new("mount").arg("--bind").arg(folder).arg(&at));
        Mount(at)
    }

    /// Waits until nobody has a file open for writing, where it becomes read-only.
    pub fn change(&self, option: &str) {
        let deadline = Instant::now() + PATIENCE;
        let options = format!("remount,{option}");
        let changed =
            || Command::new("mount").args(["-o", &options]).arg(&self.0).output().unwrap().status;
        while !changed().success() {
            assert!(Instant::now() < deadline, "{} is never {option}", self.0.display());
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
