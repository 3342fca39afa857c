//! What the machine is, as the system tells it.

use std::fs;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use tokio_util::sync::CancellationToken;

use super::data::DiskSpeed;
use crate::engine::provenance::WeightPart;

/// What is read of a file at most, and how long, to learn how fast it comes.
const DISK_BYTES_MAX: u64 = 1 << 30;
const DISK_TIME_MAX: Duration = Duration::from_secs(3);

/// What is read at once.
const CHUNK_BYTES: usize = 4 << 20;

/// `Linux 6.1.0`.
pub fn system() -> String {
    let read = |name| fs::read_to_string(Path::new("/proc/sys/kernel").join(name));
    let words = ["ostype", "osrelease"].map(|name| read(name).unwrap_or_default());
    words.map(|word| word.trim().to_owned()).join(" ")
}

/// How many threads wanted to run in the last minute, in the mean.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// The bytes of a part's files; 0 for those that cannot be read.
pub fn part_bytes(part: &WeightPart) -> u64 {
    paths(std::slice::from_ref(part)).iter().filter_map(|path| bytes(path)).sum()
}

/// Has the system forget the content of the model's files, so that the next load reads the disk.
/// Needs no rights: pages that nobody has changed are only advised away. Answers whether all were.
pub fn drop_from_cache(parts: &[WeightPart]) -> bool {
    let paths = paths(parts);
    !paths.is_empty() && paths.iter().all(|path| File::open(path).is_ok_and(|file| forget(&file)))
}

fn forget(file: &File) -> bool {
    fadvise(file, 0, None, Advice::DontNeed).is_ok()
}

/// Reads the start of the largest file of the model from the disk, and once more from the cache.
/// `None` where it is told to stop meanwhile.
pub fn disk_speed(parts: &[WeightPart], stop: &CancellationToken) -> Option<DiskSpeed> {
    let largest = paths(parts).into_iter().max_by_key(|path| bytes(path))?;
    let cold = File::open(&largest).and_then(|file| {
        forget(&file);
        read_for_a_while(file, DISK_BYTES_MAX, stop)
    });
    let (cold_bytes, cold_s) = cold.ok()?;
    let warm = File::open(&largest).and_then(|file| read_for_a_while(file, cold_bytes, stop));
    let (warm_bytes, warm_s) = warm.ok()?;
    Some(DiskSpeed {
        bytes: cold_bytes,
        cold_bytes_per_s: cold_bytes as f64 / cold_s,
        warm_bytes_per_s: warm_bytes as f64 / warm_s,
    })
}

/// How much came, and in how many seconds.
fn read_for_a_while(
    mut file: File,
    bytes_max: u64,
    stop: &CancellationToken,
) -> io::Result<(u64, f64)> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let (start, mut all) = (Instant::now(), 0_u64);
    while all < bytes_max && start.elapsed() < DISK_TIME_MAX {
        if stop.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match file.read(&mut chunk)? {
            0 => break,
            read => all += read as u64,
        }
    }
    Ok((all, start.elapsed().as_secs_f64().max(1e-6)))
}

fn paths(parts: &[WeightPart]) -> Vec<PathBuf> {
    parts.iter().flat_map(|part| part.files.iter()).map(|file| file.path.clone()).collect()
}

fn bytes(path: &Path) -> Option<u64> {
    Some(fs::metadata(path).ok()?.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::provenance::Part;
    use crate::engine::weight_files::WeightFiles;

    #[test]
    fn the_disk_is_measured_by_the_largest_file_of_weights() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = ["small", "large"].map(|name| folder.path().join(name));
        fs::write(&paths[0], "x").expect("a file");
        fs::write(&paths[1], vec![1; 5 << 20]).expect("a file");
        let files = WeightFiles::new(folder.path(), paths);
        let parts = [WeightPart { part: Part::Vae, files }];
        assert_eq!(part_bytes(&parts[0]), (5 << 20) + 1);
        let stop = CancellationToken::new();
        let speed = disk_speed(&parts, &stop).expect("a speed");
        assert_eq!(speed.bytes, 5 << 20);
        assert!(speed.cold_bytes_per_s > 0.0 && speed.warm_bytes_per_s > 0.0);
        assert_eq!(disk_speed(&[], &stop), None, "the scripted engine has no files");
        stop.cancel();
        assert_eq!(disk_speed(&parts, &stop), None, "it was told to stop");
        assert!(!drop_from_cache(&[]) && drop_from_cache(&parts));
    }
}
