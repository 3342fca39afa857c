//! The memory of the machine itself, which a card's layers are pinned in.

use std::fs;

/// Of the host's memory, what is left to other programs and to the cache of the model's files when
/// layers are pinned.
pub const RESERVE_BYTES: u64 = 2 << 30;

/// What the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostMemory {
    pub available_bytes: u64,
    pub total_bytes: u64,
}

impl HostMemory {
    /// As the kernel says it now; `None` where it does not.
    pub fn read() -> Option<HostMemory> {
        HostMemory::parse(&fs::read_to_string("/proc/meminfo").ok()?)
    }

    fn parse(text: &str) -> Option<HostMemory> {
        let bytes_of = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
        };
        Some(HostMemory {
            available_bytes: bytes_of("MemAvailable:")?,
            total_bytes: bytes_of("MemTotal:")?,
        })
    }
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
}
