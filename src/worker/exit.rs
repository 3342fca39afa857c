//! How a worker ended, and whether it was memory that it lacked.
//!
//! A library in C++ that is refused memory aborts, too, and says `bad_alloc` on standard error,
//! which is the daemon's own log and is not read here: that counts as a death. It asks the host for
//! little, where a limit on memory meets our own allocations first; and a death is tried again.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The exit status of a worker that was refused memory, sysexits(3) calls it an error of the
/// operating system.
pub const EXIT_NO_MEMORY: i32 = 71;

/// How a worker ended, in words: "killed by signal 9 (SIGKILL)", "exit status 1", "protocol error:
/// ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker died: {words}")]
pub struct WorkerExit {
    pub words: String,
    /// It was refused memory, or the kernel killed it for what it had.
    pub of_memory: bool,
}

/// How many processes the kernel has killed for memory since the machine was started; `None` where
/// it does not say.
#[derive(Clone, Copy, Debug)]
pub struct MemoryKills(Option<u64>);

impl MemoryKills {
    /// As the kernel counts them now.
    pub fn now() -> MemoryKills {
        MemoryKills(parse(&fs::read_to_string("/proc/vmstat").unwrap_or_default()))
    }

    /// Whether there are more by now.
    fn have_grown(self) -> bool {
        match (self.0, MemoryKills::now().0) {
            (Some(before), Some(now)) => now > before,
            _ => false,
        }
    }
}

fn parse(vmstat: &str) -> Option<u64> {
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

impl WorkerExit {
    /// An end, or a failure to begin, of which nothing more is known than these words.
    pub fn unknown(words: impl Into<String>) -> WorkerExit {
        WorkerExit { words: words.into(), of_memory: false }
    }

    /// It ended, and nobody here had killed it. `kills` is their count when it was started.
    pub fn by_itself(ended: io::Result<ExitStatus>, kills: &MemoryKills) -> WorkerExit {
        let status = ended.as_ref().ok();
        let refused = status.and_then(ExitStatus::code) == Some(EXIT_NO_MEMORY);
        let killed = status.and_then(ExitStatus::signal) == Some(libc::SIGKILL);
        let for_memory = killed && kills.have_grown();
        let words = match (refused, for_memory) {
            (true, _) => "the system refused it memory".to_owned(),
            (_, true) => "the kernel killed it for its memory".to_owned(),
            _ => describe(ended),
        };
        WorkerExit { words, of_memory: refused || for_memory }
    }

    /// It was killed by us.
    pub fn killed(ended: io::Result<ExitStatus>) -> WorkerExit {
        WorkerExit::unknown(describe(ended))
    }
}

fn describe(ended: io::Result<ExitStatus>) -> String {
    let status = match ended {
        Ok(status) => status,
        Err(error) => return format!("its end is unknown: {error}"),
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}{}", signal_name(signal)),
        (None, None) => status.to_string(),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGBUS => " (SIGBUS: model file changed or unreadable?)",
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGILL => " (SIGILL: built for another processor?)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGTERM => " (SIGTERM)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(raw_status: i32, kills_before: Option<u64>) -> WorkerExit {
        WorkerExit::by_itself(Ok(ExitStatus::from_raw(raw_status)), &MemoryKills(kills_before))
    }

    #[test]
    fn an_end_is_told_with_the_signals_name() {
        let words = |raw_status| exit(raw_status, None).words;
        assert_eq!(words(3 << 8), "exit status 3");
        assert_eq!(words(libc::SIGKILL), "killed by signal 9 (SIGKILL)");
        assert_eq!(
            words(libc::SIGBUS),
            "killed by signal 7 (SIGBUS: model file changed or unreadable?)"
        );
    }

    // case D
    #[test]
    fn memory_is_the_cause_where_it_was_refused_or_the_kernel_counts_another_kill() {
        assert!(exit(EXIT_NO_MEMORY << 8, None).of_memory);
        assert!(!exit(1 << 8, Some(0)).of_memory);
        let MemoryKills(now) = MemoryKills::now();
        assert!(!exit(libc::SIGKILL, now).of_memory, "somebody else's signal");
        if let Some(earlier) = now.and_then(|now| now.checked_sub(1)) {
            assert!(exit(libc::SIGKILL, Some(earlier)).of_memory);
            assert!(!exit(libc::SIGABRT, Some(earlier)).of_memory);
        }
    }

    #[test]
    fn the_kernels_count_is_read_by_name() {
        assert_eq!(parse("nr_free_pages 7\noom_kill 12\noom_kill_x 3\n"), Some(12));
        assert_eq!(parse("nr_free_pages 7\n"), None);
    }
}
