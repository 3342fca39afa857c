//! The memory of the host that this process may use: the machine's, or less where somebody has set
//! a limit. A container, a systemd unit and a batch system do so by control groups, a shell by
//! `ulimit`.

use std::fs;
use std::path::Path;

use rustix::mm::{Advice, madvise};
use rustix::process::{Resource, getrlimit};

/// Of the host's memory, what is left to other programs and to the cache of the model's files when
/// layers are pinned.
pub const RESERVE_BYTES: u64 = 2 << 30;

/// What there is for this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostMemory {
    pub available_bytes: u64,
    pub total_bytes: u64,
}

/// How one version of the control groups calls its files.
struct Files {
    /// Limits in bytes, or the word "max".
    limits: &'static [&'static str],
    usage: &'static str,
    /// What `memory.stat` calls the files' pages of a group and all groups in it.
    file_pages: [&'static str; 2],
}

const VERSION_1: Files = Files {
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    file_pages: ["total_inactive_file", "total_active_file"],
};

/// Past `memory.high` the kernel slows the process down until it is of no use.
const VERSION_2: Files = Files {
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    file_pages: ["inactive_file", "active_file"],
};

/// The smallest pages, at which ranges that the kernel is advised of begin.
const PAGE_BYTES: usize = 4096;

/// Below this the faults of small pages cost nothing to speak of.
const LARGE_BYTES: usize = 4 << 20;

/// Has the kernel use pages of 2 MiB for `values`, of which none was touched yet. A large block is
/// fresh from the system, which would hand it out in pages of 4 KiB, each at the price of a fault:
/// as dear as what fills it. Where there are no large pages, nothing changes.
pub fn prefer_large_pages<T>(values: &mut [T]) {
    let bytes = size_of_val(values);
    if bytes < LARGE_BYTES {
        return;
    }
    let start = values.as_mut_ptr().cast::<u8>();
    let skip = start.align_offset(PAGE_BYTES);
    // SAFETY: the range lies within the values, and the advice changes none of them.
    let _ = unsafe { madvise(start.add(skip).cast(), bytes - skip, Advice::LinuxHugepage) };
}

impl HostMemory {
    /// As the kernel says it now: the least of all limits. `None` where it says nothing.
    pub fn read() -> Option<HostMemory> {
        let root = Path::new("/");
        let machine = text(&root.join("proc/meminfo")).and_then(|text| HostMemory::parse(&text));
        machine.into_iter().chain(groups(root)).chain(resource_limits()).reduce(HostMemory::least)
    }

    fn least(self, other: HostMemory) -> HostMemory {
        HostMemory {
            available_bytes: self.available_bytes.min(other.available_bytes),
            total_bytes: self.total_bytes.min(other.total_bytes),
        }
    }

    /// Of `limit_bytes`, `used_bytes` are in use.
    fn limited(limit_bytes: u64, used_bytes: u64) -> HostMemory {
        let available_bytes = limit_bytes.saturating_sub(used_bytes);
        HostMemory { available_bytes, total_bytes: limit_bytes }
    }

    fn parse(meminfo: &str) -> Option<HostMemory> {
        Some(HostMemory {
            available_bytes: bytes_of(meminfo, "MemAvailable:")?,
            total_bytes: bytes_of(meminfo, "MemTotal:")?,
        })
    }
}

/// What a file of the kernel says of `name`, in kibibytes there.
fn bytes_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The limits of the control groups that this process is in, at every level.
fn groups(root: &Path) -> Vec<HostMemory> {
    let memberships = text(&root.join("proc/self/cgroup")).unwrap_or_default();
    memberships.lines().flat_map(|line| limits_of(root, line)).collect()
}

/// The limits of one membership: `0::/system.slice/x.service`, or `4:memory:/docker/1a2b`. Inside
/// a container its own group may be mounted as the root, and the path lead nowhere there: then the
/// root itself says what there is to say.
fn limits_of(root: &Path, membership: &str) -> Vec<HostMemory> {
    let mut parts = membership.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (mount, files) = match controllers {
        "" => ("sys/fs/cgroup", VERSION_2),
        names if names.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", VERSION_1)
        }
        _ => return Vec::new(),
    };
    let mount = root.join(mount);
    let group = mount.join(path.trim_start_matches('/'));
    let levels = group.ancestors().take_while(|level| level.starts_with(&mount));
    levels.filter_map(|level| limit_of(level, &files)).collect()
}

/// The limit of one group, if it has one. What it keeps of files the kernel takes back when it is
/// needed.
fn limit_of(group: &Path, files: &Files) -> Option<HostMemory> {
    let number = |name: &&str| text(&group.join(name))?.trim().parse::<u64>().ok();
    let limit_bytes = files.limits.iter().filter_map(number).min()?;
    let statistics = text(&group.join("memory.stat")).unwrap_or_default();
    let pages = |line: &str| -> Option<u64> {
        let (name, bytes) = line.split_once(' ')?;
        files.file_pages.contains(&name).then(|| bytes.trim().parse().ok())?
    };
    let files_bytes: u64 = statistics.lines().filter_map(pages).sum();
    let used_bytes = number(&files.usage)?.saturating_sub(files_bytes);
    Some(HostMemory::limited(limit_bytes, used_bytes))
}

/// What `ulimit -v` and `ulimit -d` allow of addresses and of data.
fn resource_limits() -> Vec<HostMemory> {
    let status = text(Path::new("/proc/self/status")).unwrap_or_default();
    let limited = |(resource, used): (Resource, &str)| {
        Some(HostMemory::limited(getrlimit(resource).current?, bytes_of(&status, used)?))
    };
    [(Resource::As, "VmSize:"), (Resource::Data, "VmData:")]
        .into_iter()
        .filter_map(limited)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_kibibytes_are_read_by_name() {
        let text = "MemTotal:       16000 kB\nMemFree:  1 kB\nMemAvailable:   4000 kB\n";
        let expected = HostMemory { available_bytes: 4000 << 10, total_bytes: 16000 << 10 };
        assert_eq!(HostMemory::parse(text), Some(expected));
        assert_eq!(HostMemory::parse("MemTotal: many kB\n"), None);
    }

    /// The files of a kernel, below a folder.
    fn kernel(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
            fs::write(path, content).expect("a writable folder");
        }
        root
    }

    fn least(files: &[(&str, &str)]) -> Option<(u64, u64)> {
        let least = groups(kernel(files).path()).into_iter().reduce(HostMemory::least)?;
        Some((least.available_bytes, least.total_bytes))
    }

    // case D
    #[test]
    fn a_unit_and_a_slice_above_it_are_limits_by_groups_of_version_2() {
        let mut files = vec![
            ("proc/self/cgroup", "0::/my.slice/zimaged.service\n"),
            ("sys/fs/cgroup/my.slice/memory.max", "9000\n"),
            ("sys/fs/cgroup/my.slice/memory.high", "max\n"),
            ("sys/fs/cgroup/my.slice/memory.current", "5000\n"),
            ("sys/fs/cgroup/my.slice/memory.stat", "anon 1\ninactive_file 700\nactive_file 300\n"),
            ("sys/fs/cgroup/my.slice/zimaged.service/memory.max", "max\n"),
            ("sys/fs/cgroup/my.slice/zimaged.service/memory.high", "max\n"),
            ("sys/fs/cgroup/my.slice/zimaged.service/memory.current", "100\n"),
        ];
        assert_eq!(least(&files), Some((5000, 9000)), "the slice's, its files left out");
        files[6].1 = "4000\n";
        assert_eq!(least(&files), Some((3900, 4000)), "the unit's own");
    }

    // case D
    #[test]
    fn a_container_is_a_limit_by_groups_of_version_1_also_where_its_path_leads_nowhere() {
        let mut files = vec![
            ("proc/self/cgroup", "5:cpu:/docker/1a\n4:memory,blkio:/docker/1a\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "8000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "7000\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 2000\n"),
        ];
        assert_eq!(least(&files), Some((3000, 8000)));
        files[0].1 = "5:cpu:/docker/1a\n0::/\n";
        assert_eq!(least(&files), None, "no group for memory");
    }
}
