//! What the daemon tells systemd, heard on a socket in its place.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use super::{House, PATIENCE};

pub struct Systemd {
    socket: UnixDatagram,
    address: String,
}

impl Systemd {
    /// Listens in the house's folder.
    pub fn of(house: &House) -> Systemd {
        let path = house.path("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Systemd { socket, address: path.display().to_string() }
    }

    /// What the daemon finds it by; without a watchdog where the time for it is empty.
    pub fn environment(&self, watchdog_us: &'static str) -> [(&str, &str); 2] {
        [("NOTIFY_SOCKET", &self.address), ("WATCHDOG_USEC", watchdog_us)]
    }

    /// The next message, if one comes before `deadline`.
    fn next(&self, deadline: Instant) -> Option<String> {
        let mut message = [0; 4096];
        let left = deadline.saturating_duration_since(Instant::now());
        self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).expect("a time-out");
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    /// Waits for a line that begins like this; its message, and the lines before it.
    pub fn until(&self, line: &str) -> (String, Vec<String>) {
        let (deadline, mut before) = (Instant::now() + PATIENCE, Vec::new());
        while let Some(message) = self.next(deadline) {
            if message.lines().any(|said| said.starts_with(line)) {
                return (message, before);
            }
            before.extend(message.lines().map(str::to_owned));
        }
        panic!("{line} never came after {before:?}");
    }

    /// All lines that come in this time.
    pub fn within(&self, time: Duration) -> Vec<String> {
        let deadline = Instant::now() + time;
        let mut lines = Vec::new();
        while let Some(message) = self.next(deadline) {
            lines.extend(message.lines().map(str::to_owned));
        }
        lines
    }
}
