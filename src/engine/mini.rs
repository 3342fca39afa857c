//! The miniature model, carried in the program: what `cargo install` leaves renders with nothing
//! beside it.
//!
//! The engine reads files, so it is unpacked once, into a folder named by the hash of its
//! content: another version's miniature is another folder, and stays, because a daemon of that
//! version may still load from it.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::ModelPlace;
use crate::files;

/// Pairs of a name in the model's folder and the content.
macro_rules! files_of_the_miniature {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/mini/", $name)).as_slice())),*]
    };
}

const FILES: [(&str, &[u8]); 12] = files_of_the_miniature![
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/chat_template.jinja",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "zimaged.json",
];

/// What the miniature calls itself.
pub const NAME: &str = "zimage-mini";

/// How files of weights end.
const WEIGHTS: &str = ".safetensors";

/// How much of the hash names the folder.
const HASH_DIGITS: usize = 12;

/// Writing 15 MB takes no longer on any disk that a daemon can live on.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two tries to get the lock.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// The miniature's folder in the state folder, unpacked where it is not there whole.
pub fn unpacked(state: &Path) -> io::Result<PathBuf> {
    let (models, folder) = (state.join("models"), folder(state));
    if !is_whole(&folder) {
        fs::create_dir_all(&models)?;
        unpack(&models, &folder)?;
    }
    Ok(folder)
}

/// A model of which everything but the weights can be read.
pub enum ModelTexts {
    At(ModelPlace),
    /// Removed when it is dropped.
    Temporary(TempDir),
}

impl ModelTexts {
    pub fn place(&self) -> ModelPlace {
        match self {
            ModelTexts::At(place) => place.clone(),
            ModelTexts::Temporary(folder) => ModelPlace::at(folder.path()),
        }
    }
}

/// The miniature's files but its weights, some kilobytes: in the state folder where
/// it is unpacked, else among the system's temporary files.
pub fn texts(state: &Path) -> io::Result<ModelTexts> {
    let unpacked = folder(state);
    if is_whole(&unpacked) {
        return Ok(ModelTexts::At(ModelPlace::at(&unpacked)));
    }
    let folder = tempfile::Builder::new().prefix("zimaged-mini-").tempdir()?;
    for (name, content) in text_files() {
        let path = folder.path().join(name);
        fs::create_dir_all(parent(&path))?;
        fs::write(&path, content)?;
    }
    Ok(ModelTexts::Temporary(folder))
}

/// The miniature's files but its weights: names in its folder, with their content.
pub fn text_files() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    FILES.into_iter().filter(|(name, _)| !name.ends_with(WEIGHTS))
}

/// What its weights take.
pub fn weight_bytes() -> u64 {
    let weights = FILES.into_iter().filter(|(name, _)| name.ends_with(WEIGHTS));
    weights.map(|(_, content)| content.len() as u64).sum()
}

/// Where it is unpacked.
pub fn folder(state: &Path) -> PathBuf {
    state.join("models").join(format!("mini-{}", &HASH[..HASH_DIGITS]))
}

/// The hash of all files, made once in a process: they are 15 MB.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for (name, content) in FILES {
        hash.update(format!("{name} {}\n", content.len()));
        hash.update(content);
    }
    files::hex(hash)
});

/// Every file is there in its size. The folder appears by a rename after an fsync, so nothing else
/// is to be expected but somebody's hand.
fn is_whole(folder: &Path) -> bool {
    let stands = |(name, content): &(&str, &[u8])| {
        fs::metadata(folder.join(name))
            .is_ok_and(|file| file.is_file() && file.len() == content.len() as u64)
    };
    FILES.iter().all(stands)
}

/// Under a lock, which dies with its process: what lies under the temporary name is then a dead
/// one's, and is removed.
fn unpack(models: &Path, folder: &Path) -> io::Result<()> {
    let lock = File::open(models)?;
    wait_for(&lock)?;
    // Another process may have done it meanwhile.
    if is_whole(folder) {
        return Ok(());
    }
    let temporary = models.join(".mini.part");
    remove(&temporary)?;
    write(&temporary)?;
    put_in_place(&temporary, folder)?;
    lock.sync_all()?;
    remove(&temporary)
}

fn wait_for(lock: &impl AsFd) -> io::Result<()> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(LOCK_POLL),
            Err(Errno::WOULDBLOCK) => {
                let message = format!(
                    "another zimaged has been unpacking it for {} s",
                    LOCK_TIMEOUT.as_secs()
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            locked => return Ok(locked?),
        }
    }
}

/// All files and then the folders, each through to the disk.
fn write(folder: &Path) -> io::Result<()> {
    for (name, content) in FILES {
        let path = folder.join(name);
        fs::create_dir_all(parent(&path))?;
        files::write_synced(&path, content)?;
    }
    FILES.iter().try_for_each(|(name, _)| File::open(parent(&folder.join(name)))?.sync_all())
}

/// Each file of the miniature lies in a folder.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// A damaged folder changes places with the good one, so that no reader ever finds none.
fn put_in_place(temporary: &Path, folder: &Path) -> io::Result<()> {
    let rename = |flags| renameat_with(CWD, temporary, CWD, folder, flags);
    match rename(RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => Ok(rename(RenameFlags::EXCHANGE)?),
        renamed => Ok(renamed?),
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::engine::ModelDescription;

    /// The names of all files in a folder, relative to it.
    fn names(folder: &Path) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    names.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        names
    }

    /// The names in `models`, which hold one model and nothing temporary.
    fn models(state: &Path) -> Vec<String> {
        fs::read_dir(state.join("models"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn all_of_the_miniature_is_carried() {
        let carried: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut shipped = names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini"));
        // What `zimaged model quantize` leaves there.
        shipped.retain(|name| !name.starts_with("transformer/zimaged-q"));
        assert_eq!(carried, shipped);
    }

    #[test]
    fn it_is_unpacked_once_to_the_byte() {
        let state = tempfile::tempdir().unwrap();
        let folder = unpacked(state.path()).unwrap();
        for (name, content) in FILES {
            assert!(fs::read(folder.join(name)).unwrap() == content, "{name}");
        }
        assert_eq!(ModelDescription::read(&ModelPlace::at(&folder)).unwrap().name, NAME);
        let written = || fs::metadata(folder.join("zimaged.json")).unwrap().modified().unwrap();
        let before = written();
        assert_eq!(unpacked(state.path()).unwrap(), folder);
        assert_eq!(written(), before);
        assert_eq!(models(state.path()).len(), 1);
    }

    #[test]
    fn what_a_crash_left_and_what_a_hand_damaged_is_replaced() {
        let state = tempfile::tempdir().unwrap();
        let part = state.path().join("models/.mini.part/vae");
        fs::create_dir_all(&part).unwrap();
        fs::write(part.join("config.json"), "half").unwrap();
        fs::write(part.join("stray"), "of an older version").unwrap();
        let folder = unpacked(state.path()).unwrap();
        assert!(!folder.join("vae/stray").exists());
        fs::write(folder.join("vae/config.json"), "cut").unwrap();
        fs::remove_dir_all(folder.join("tokenizer")).unwrap();
        assert_eq!(unpacked(state.path()).unwrap(), folder);
        assert!(is_whole(&folder));
        assert_eq!(models(state.path()).len(), 1);
    }

    #[test]
    fn several_at_once_get_the_same_whole_folder() {
        let state = tempfile::tempdir().unwrap();
        let folders: BTreeSet<PathBuf> = thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| unpacked(state.path()).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(folders.len(), 1);
        assert!(folders.iter().all(|folder| is_whole(folder)));
        assert_eq!(models(state.path()).len(), 1);
    }
}
