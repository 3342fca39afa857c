//! The hash of a model's weights: SHA-256 of each file, as the hubs publish it, and one hash of
//! them all.
//!
//! Hashing reads all of the model, which takes a minute. So the hashes of the files are cached, and
//! only files that have changed are read again.

mod cache;

use std::io::{self, Read};
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::process::setpriority_process;
use sha2::{Digest, Sha256};

use self::cache::Cache;
use super::provenance::FetchedWeights;
use super::weight_files::{Stamp, WeightFile, WeightFiles};
use crate::files::{hex, open_plain};

/// How much of a file is read at a time. The buffer lies on the thread's stack, because on a CPU
/// the heap is the device's memory, which is measured.
const BUFFER_BYTES: usize = 256 << 10;

/// The nice value of the threads that hash, so that they take no time from those that compute.
const NICE: i32 = 19;

/// Whether files may be read. A daemon that ends waits for nothing that takes long.
static MAY_READ: AtomicBool = AtomicBool::new(true);

/// Whether files may be read in this process from now on: what is being read ends with an error.
pub fn let_read(may_read: bool) {
    MAY_READ.store(may_read, Ordering::Relaxed);
}

/// See [`let_read`].
pub fn may_read() -> bool {
    MAY_READ.load(Ordering::Relaxed)
}

/// The hash of `files`, where the cache at `cache` knows all of them as they are now.
pub fn cached(files: &WeightFiles, cache: &Path) -> Option<String> {
    Some(combined(files, cached_of_all(files, cache)?))
}

/// The hash of the files of one part, where all are known. That of a single file is its own, by
/// which hubs and other programs know it.
pub fn cached_of_part(files: &WeightFiles, cache: &Path) -> Option<String> {
    match &cached_of_all(files, cache)?[..] {
        [one] => Some(one.clone()),
        hashes => Some(combined(files, hashes.to_vec())),
    }
}

fn cached_of_all(files: &WeightFiles, cache: &Path) -> Option<Vec<String>> {
    let cache = Cache::read(cache);
    files.iter().map(|file| known(&cache, file, &Stamp::of(&file.path).ok()?)).collect()
}

/// As the cache has it; or as the fetch found it on the disk, which wrote its record after that.
fn known(cache: &Cache, file: &WeightFile, stamp: &Stamp) -> Option<String> {
    cache.get(stamp).or_else(|| Some(FetchedWeights::of(&file.path)?.sha256))
}

/// The hash of `files`. Those that the cache at `cache` does not know are read, by as many threads
/// of the lowest priority as there are processors, and each is added to the cache when it is done.
///
/// Fails where a file cannot be read, or changes while it is read.
pub fn compute(files: &WeightFiles, cache: &Path) -> io::Result<String> {
    let hashes = Cache::read(cache);
    let stamped = files.iter().map(|file| Ok((file, Stamp::of(&file.path)?)));
    let stamped = stamped.collect::<io::Result<Vec<_>>>()?;
    let unknown = stamped.iter().filter(|(file, stamp)| known(&hashes, file, stamp).is_none());
    let unknown = unknown.map(|(_, stamp)| stamp.clone()).collect();
    let hashes = hash_all(unknown, hashes, cache)?;
    let hashes = stamped.iter().map(|(file, stamp)| known(&hashes, file, stamp));
    let hashes = hashes.collect::<Option<Vec<_>>>().ok_or(io::ErrorKind::NotFound)?;
    Ok(combined(files, hashes))
}

/// The SHA-256 of what `sha256sum` prints of the files in the order of their names.
fn combined(files: &WeightFiles, hashes: Vec<String>) -> String {
    let mut all = Sha256::new();
    for (file, sha256) in files.iter().zip(hashes) {
        all.update(format!("{sha256}  {}\n", file.name));
    }
    hex(all)
}

/// Reads each of `files` by one thread, and adds its hash to `known` and to the file at `path`.
fn hash_all(mut files: Vec<Stamp>, known: Cache, path: &Path) -> io::Result<Cache> {
    // The largest files first, so that none is begun when the other threads are done.
    files.sort_unstable_by_key(|file| std::cmp::Reverse(file.bytes));
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(files.len());
    let next = AtomicUsize::new(0);
    let known = Mutex::new(known);
    let hash_some = || -> io::Result<()> {
        // A thread that keeps its priority does the same work.
        let _ = setpriority_process(None, NICE);
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let hash = of_file(file)?;
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(file.clone(), hash);
            if let Err(error) = known.write(path) {
                tracing::warn!("{}: {error}: files will be hashed again", path.display());
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(hash_some)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
        })
    })?;
    Ok(known.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The SHA-256 of a file's content. Fails where it has another stamp after it was read.
pub fn of_file(stamp: &Stamp) -> io::Result<String> {
    let mut file = open_plain(&stamp.path)?;
    let mut buffer = [0; BUFFER_BYTES];
    let mut hash = Sha256::new();
    loop {
        if !may_read() {
            return Err(io::Error::other("the daemon ends"));
        }
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => hash.update(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if Stamp::of(&stamp.path)? != *stamp {
        return Err(io::Error::other(format!("{} changed meanwhile", stamp.path.display())));
    }
    Ok(hex(hash))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

    use super::*;

    /// Two models whose files hold the same weights, and a place for the cache.
    struct Models(tempfile::TempDir);

    const NAMES: [&str; 2] = ["vae/model.safetensors", "transformer/model-1.safetensors"];

    impl Models {
        fn new() -> Models {
            let models = Models(tempfile::tempdir().unwrap());
            for file in ["a", "b"].into_iter().flat_map(|model| models.paths(model)) {
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                // More than one buffer, and not a whole number of them.
                fs::write(file, vec![7; 2 * BUFFER_BYTES + 1]).unwrap();
            }
            models
        }

        fn files(&self, model: &str) -> WeightFiles {
            let model = self.0.path().join(model);
            WeightFiles::new(&model, NAMES.map(|name| model.join(name)))
        }

        fn paths(&self, model: &str) -> Vec<PathBuf> {
            self.files(model).iter().map(|file| file.path.clone()).collect()
        }

        fn cache(&self) -> PathBuf {
            self.0.path().join("cache")
        }

        fn hash(&self, model: &str) -> String {
            compute(&self.files(model), &self.cache()).unwrap()
        }

        fn cached(&self, model: &str) -> Option<String> {
            cached(&self.files(model), &self.cache())
        }

        /// Changes one value in place; the size stays the same.
        fn edit(&self, model: &str) {
            let path = self.0.path().join(model).join(NAMES[1]);
            let mut weights = fs::read(&path).unwrap();
            *weights.last_mut().unwrap() = 8;
            fs::write(&path, weights).unwrap();
            // Not within the same tick of the file system's clock.
            let later = SystemTime::now() + Duration::from_secs(1);
            File::options().write(true).open(path).unwrap().set_modified(later).unwrap();
        }
    }

    #[test]
    fn equal_copies_have_one_hash_and_one_other_value_makes_another() {
        let models = Models::new();
        assert_eq!(models.hash("a"), models.hash("b"));
        models.edit("b");
        assert_ne!(models.hash("a"), models.hash("b"));
    }

    #[test]
    fn the_hash_is_what_sha256sum_says_of_its_own_list() {
        let models = Models::new();
        let one = hex(Sha256::new_with_prefix(vec![7; 2 * BUFFER_BYTES + 1]));
        let list = format!("{one}  {}\n{one}  {}\n", NAMES[1], NAMES[0]);
        assert_eq!(models.hash("a"), hex(Sha256::new_with_prefix(list)));
    }

    #[test]
    fn only_what_has_changed_is_read_again() {
        let models = Models::new();
        assert_eq!(models.cached("a"), None);
        let hash = models.hash("a");
        assert_eq!(models.cached("a"), Some(hash.clone()));
        assert_eq!(models.cached("b"), None);
        models.edit("a");
        assert_eq!(models.cached("a"), None, "an edit in place");
        assert_ne!(models.hash("a"), hash);
        assert!(models.cached("a").is_some());
    }

    #[test]
    fn a_spoilt_cache_is_as_good_as_none() {
        let models = Models::new();
        let hash = models.hash("a");
        let whole = fs::read_to_string(models.cache()).unwrap();
        let file = hex(Sha256::new_with_prefix(vec![7; 2 * BUFFER_BYTES + 1]));
        let other = whole.replace(&file, &"0".repeat(file.len()));
        assert_ne!(other, whole);
        for spoilt in ["", "{}", &whole[..whole.len() / 2], &other] {
            fs::write(models.cache(), spoilt).unwrap();
            assert_eq!(models.cached("a"), None);
            assert_eq!(models.hash("a"), hash);
        }
    }

    #[test]
    fn a_missing_file_is_an_error_and_no_files_have_a_hash() {
        let models = Models::new();
        fs::remove_file(models.0.path().join("a").join(NAMES[0])).unwrap();
        assert!(compute(&models.files("a"), &models.cache()).is_err());
        assert!(models.cached("a").is_none());
        assert!(cached(&WeightFiles::default(), &models.cache()).is_some());
    }
}
