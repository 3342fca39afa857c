//! A card's management library that tells what a test says, in a folder where the loader finds it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::{House, library};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nvml");
    library::build("it/support/nvml.c", &folder.join("libnvidia-ml.so.1"));
    folder
});

/// How the card is.
#[derive(Clone, Copy)]
pub struct Card {
    pub celsius: u32,
    pub watts: u32,
    pub mhz: u32,
    /// NVML's bits.
    pub slowed: u64,
}

impl Card {
    /// From now on the card of `house` is so. The scripted engine renders on it from its next
    /// start.
    pub fn is_in(self, house: &House) {
        let Card { celsius, watts, mhz, slowed } = self;
        let file = house.path("nvml");
        let new = house.path("nvml.part");
        fs::write(&new, format!("{celsius} {watts} {mhz} {slowed}\n")).expect("a writable folder");
        fs::rename(new, file).expect("a writable folder");
        fs::write(house.path("model/card.txt"), "").expect("a writable folder");
    }
}

/// What has the program find the library, and the library the card of `house`.
pub fn environment(house: &House) -> [(&'static str, String); 2] {
    let folder = FOLDER.to_str().expect("a path of ASCII").to_owned();
    let file = house.path("nvml").to_str().expect("a path of ASCII").to_owned();
    [("LD_LIBRARY_PATH", folder), ("NVML", file)]
}
