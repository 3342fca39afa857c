//! Signs of an NVIDIA card that need no driver to be seen: for a user who wonders why the processor
//! renders.

use std::fmt;
use std::fs;
use std::path::Path;

/// Where a driver, or the machine itself, shows a card; `*` stands for a number.
const FILES: [&str; 4] =
    ["/dev/nvidia*", "/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia/version"];

/// The driver's library, and the folders that it is installed into.
const LIBRARY: &str = "libcuda.so.1";
const LIBRARY_FOLDERS: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/wsl/lib",
    "/run/opengl-driver/lib",
];

/// Where the kernel lists the machine's cards, and NVIDIA's number there. Class 03 are displays.
const PCI: &str = "/sys/bus/pci/devices";
const NVIDIA: &str = "0x10de";
const DISPLAY: &str = "0x03";

/// How many devices and entries of a folder are looked at.
const ENTRIES_MAX: usize = 4096;

/// The signs that were found, and all that were looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardSigns(Vec<String>);

impl CardSigns {
    /// Looks below `root`, which is `/` but in tests.
    pub fn look(root: &Path) -> CardSigns {
        let under = |path: &str| root.join(path.trim_start_matches('/'));
        let mut found: Vec<String> =
            FILES.iter().filter(|file| is_there(&under(file))).map(ToString::to_string).collect();
        let has_library = |folder: &&&str| under(folder).join(LIBRARY).exists();
        if let Some(folder) = LIBRARY_FOLDERS.iter().find(has_library) {
            found.push(format!("{folder}/{LIBRARY}"));
        }
        found.extend(pci_card(&under(PCI)).map(|slot| format!("PCI device {slot}")));
        CardSigns(found)
    }

    /// Why a build without CUDA renders on the processor, and what would have a card render: two
    /// sentences that a terminal shows in one line each.
    pub fn without_cuda(&self) -> [String; 2] {
        let found = match self.first() {
            Some(sign) => format!(", but a card shows: {sign}"),
            None => ": there is no sign of a card".to_owned(),
        };
        let build = "with an NVIDIA card: cargo install --path . --features cuda";
        [format!("this build renders on the processor{found}"), build.to_owned()]
    }

    /// Why a build with CUDA renders on the processor, where `reason` is what keeps it from a card.
    /// What would bring a driver is worth saying only where a card shows.
    pub fn on_processor(&self, reason: &str) -> String {
        match self.first() {
            Some(sign) => {
                format!("rendering on the processor, but a card shows ({sign}): {reason}")
            }
            None => {
                "rendering on the processor: this build has CUDA, but sees no card and no driver"
                    .to_owned()
            }
        }
    }

    /// What was looked for, for a terminal in one line.
    pub fn looked_for() -> String {
        // To people the others are among the first.
        let files: Vec<&str> = FILES.into_iter().filter(|file| *file != "/dev/nvidiactl").collect();
        format!("looked for {}, {LIBRARY} and the PCI bus", files.join(", "))
    }

    /// The first of them, if there is any.
    pub fn first(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }
}

impl fmt::Display for CardSigns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => write!(
                f,
                "none of {}, the driver's {LIBRARY}, an NVIDIA display on the PCI bus",
                FILES.join(", ")
            ),
            found => f.write_str(&found.join(", ")),
        }
    }
}

/// Whether there is a file of this path, whose name may end with a `*` for a number.
fn is_there(path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return false };
    let name = name.to_string_lossy();
    let Some(start) = name.strip_suffix('*') else { return path.exists() };
    let is_numbered = |found: &str| {
        found
            .strip_prefix(start)
            .is_some_and(|end| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit()))
    };
    entries(folder).any(|found| is_numbered(&found))
}

/// The slot of the first card on the bus that is NVIDIA's.
fn pci_card(devices: &Path) -> Option<String> {
    let starts = |slot: &str, file: &str, start: &str| {
        fs::read_to_string(devices.join(slot).join(file)).is_ok_and(|text| text.starts_with(start))
    };
    entries(devices).find(|slot| starts(slot, "vendor", NVIDIA) && starts(slot, "class", DISPLAY))
}

fn entries(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(ENTRIES_MAX);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> CardSigns {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        CardSigns::look(root.path())
    }

    // newcomer 9
    #[test]
    fn a_card_shows_in_many_places_and_a_machine_without_one_says_what_was_looked_for() {
        let pci = "sys/bus/pci/devices/0000:01:00.0";
        let none = machine(&[
            ("dev/nvidia-uvm", ""),
            (&format!("{pci}/vendor"), "0x10de\n"),
            (&format!("{pci}/class"), "0x040300\n"), // its sound
        ]);
        assert!(none.first().is_none(), "{none}");
        let told = none.to_string();
        let places = ["/dev/nvidia*", "/dev/dxg", "/proc/driver/nvidia", "libcuda.so.1", "PCI"];
        assert!(places.iter().all(|place| told.contains(place)), "{told}");
        // evening F4
        let library = "usr/lib/x86_64-linux-gnu/libcuda.so.1";
        for told in [none.without_cuda(), machine(&[(library, "")]).without_cuda()] {
            assert!(told.iter().all(|line| line.len() < 100), "{told:?}");
            assert!(told[1].contains("with an NVIDIA card"), "{told:?}");
        }
        let reason = "libcuda.so.1 is missing: a driver brings it, in a package for each system";
        let unseen = none.on_processor(reason);
        assert!(unseen.len() < 100 && unseen.contains("on the processor"), "{unseen}");
        assert!(unseen.contains("this build has CUDA"), "{unseen}");
        let looked_for = CardSigns::looked_for();
        assert!(looked_for.len() < 100 && looked_for.contains("/dev/nvidia*"), "{looked_for}");
        let shown = machine(&[("dev/nvidia1", "")]).on_processor(reason);
        assert!(shown.contains("/dev/nvidia*") && shown.contains(reason), "{shown}");
        for (file, expected) in [
            ("dev/nvidia1", "/dev/nvidia*"),
            ("dev/dxg", "/dev/dxg"),
            ("proc/driver/nvidia/version", "/proc/driver/nvidia/version"),
            ("usr/lib/wsl/lib/libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"),
        ] {
            assert_eq!(machine(&[(file, "")]).to_string(), expected);
        }
        let card = machine(&[
            (&format!("{pci}/vendor"), "0x10de\n"),
            (&format!("{pci}/class"), "0x030000\n"),
        ]);
        assert_eq!(card.to_string(), "PCI device 0000:01:00.0");
    }
}
