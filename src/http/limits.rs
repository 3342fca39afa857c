//! How many may ask at once.

use crate::descriptors;

/// Connections, where nothing forbids them.
const CONNECTIONS: u64 = 400;

/// However few files may be open, some are answered.
const CONNECTIONS_MIN: u64 = 4;

/// Each takes a descriptor, and one more while it is sent a picture.
const DESCRIPTORS_EACH: u64 = 2;

/// As many connections as this are there for one that follows events; so those leave as many again.
const CONNECTIONS_EACH: u64 = 2;

/// How many may ask at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    pub connections: usize,
    /// So many of them may follow events.
    pub streams: usize,
}

impl HttpLimits {
    /// For a process that may have so many file descriptors.
    pub fn of(descriptors: u64) -> HttpLimits {
        let left = descriptors::left_of(descriptors) / DESCRIPTORS_EACH;
        let connections = left.clamp(CONNECTIONS_MIN, CONNECTIONS);
        let streams = connections / CONNECTIONS_EACH;
        HttpLimits { connections: connections as usize, streams: streams as usize }
    }
}

/// That fewer are answered at once than usual because of so few descriptors, and what would be
/// enough.
pub fn scarcity(descriptors: u64) -> Option<String> {
    let HttpLimits { connections, .. } = HttpLimits::of(descriptors);
    let needed = descriptors::needed_for(DESCRIPTORS_EACH * CONNECTIONS);
    (connections < CONNECTIONS as usize).then(|| {
        format!(
            "only {connections} connections at once: {descriptors} files may be open, and {needed} \
             are enough (ulimit -n, LimitNOFILE of systemd)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_leave_few_connections_and_the_queue_its_own() {
        assert_eq!(HttpLimits::of(u64::MAX), HttpLimits { connections: 400, streams: 200 });
        assert_eq!(HttpLimits::of(1024), HttpLimits { connections: 400, streams: 200 });
        assert_eq!(HttpLimits::of(256), HttpLimits { connections: 64, streams: 32 });
        assert_eq!(HttpLimits::of(64), HttpLimits { connections: 4, streams: 2 });
        assert_eq!(scarcity(1024), None);
        let told = scarcity(256).expect("few");
        assert!(told.starts_with("only 64 connections") && told.contains("928"), "{told}");
    }
}
