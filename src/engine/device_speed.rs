//! The speeds of devices, kept in a file of the state folder: each is measured once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::is_card;
use crate::files;
use crate::planner::DeviceSpeed;

/// The file's name in the state folder.
const FILE: &str = "device-speeds.json";

/// The largest file that is read: some hundred devices.
const FILE_BYTES_MAX: u64 = 1 << 16;

/// Where speeds are kept in the state folder `state`.
pub fn path(state: &Path) -> PathBuf {
    state.join(FILE)
}

/// The speed of `device`, as [`super::Engine::device`] names it, if this version of the program has
/// measured it on this machine.
pub fn kept(path: &Path, device: &str) -> Option<DeviceSpeed> {
    read(path).remove(&identity(device)).filter(DeviceSpeed::is_usable)
}

/// Keeps what was measured.
pub fn keep(path: &Path, device: &str, speed: DeviceSpeed) -> io::Result<()> {
    let mut speeds = read(path);
    speeds.insert(identity(device), speed);
    files::write_atomic(path, serde_json::to_string_pretty(&speeds)?.as_bytes())
}

/// All speeds; none where there is no such file, or something is wrong with it.
fn read(path: &Path) -> BTreeMap<String, DeviceSpeed> {
    let content = files::read_whole(path, FILE_BYTES_MAX).ok();
    content.and_then(|content| serde_json::from_slice(&content).ok()).unwrap_or_default()
}

/// What tells a device from others. A processor's words do not name it, and operators may be
/// faster in another version of the program.
fn identity(device: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match is_card(device) {
        true => format!("{device}, zimaged {version}"),
        false => format!("{device} of {}, zimaged {version}", processor()),
    }
}

/// The processor's name.
pub fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    // newcomer 6
    #[test]
    fn a_speed_is_kept_for_its_device_alone_and_a_damaged_file_is_measured_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        let speed = |rate| DeviceSpeed {
            linear_per_s: rate,
            weights_per_s: rate,
            int8_per_s: rate,
            attention_per_s: rate,
            convolution_per_s: rate,
            gathered_per_s: rate,
            moved_per_s: rate,
            read_bytes_per_s: rate,
            streamed_bytes_per_s: rate,
        };
        assert_eq!(kept(&path, "cpu, 2 threads"), None);
        keep(&path, "cpu, 2 threads", speed(2.0)).unwrap();
        keep(&path, "NVIDIA H200", speed(3.0)).unwrap();
        assert_eq!(kept(&path, "cpu, 2 threads"), Some(speed(2.0)));
        assert_eq!(kept(&path, "NVIDIA H200"), Some(speed(3.0)));
        assert_eq!(kept(&path, "cpu, 4 threads"), None);
        keep(&path, "NVIDIA H200", speed(0.0)).unwrap();
        assert_eq!(kept(&path, "NVIDIA H200"), None, "a speed of nothing says nothing");
        let earlier = fs::read_to_string(&path).unwrap().replace("int8_per_s", "int4_per_s");
        fs::write(&path, earlier).unwrap();
        assert_eq!(read(&path).len(), 2, "it is read, as an earlier report is");
        assert_eq!(kept(&path, "cpu, 2 threads"), None, "and measured anew");
        fs::write(&path, "{\"cpu").unwrap();
        assert_eq!(kept(&path, "cpu, 2 threads"), None);
        keep(&path, "cpu, 2 threads", speed(4.0)).unwrap();
        assert_eq!(kept(&path, "cpu, 2 threads"), Some(speed(4.0)));
    }
}
