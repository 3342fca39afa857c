//! Shows how the running picture looks, at most about once a second and at next to no cost: a small
//! file beside the database, which is gone when the attempt ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::engine::{Latents, Pixels};
use crate::files;
use crate::preview::{self, LatentFit};

/// Between two previews: a page asks no more often.
const INTERVAL: Duration = Duration::from_secs(1);

/// A preview that took long makes the next one wait this many times as long: a slow disk or a large
/// picture costs at most a fiftieth of the time.
const SHARE: u32 = 50;

/// The previews of one worker, and what it has learned of its model.
pub struct Previews {
    folder: PathBuf,
    fit_path: PathBuf,
    fit: LatentFit,
    /// The file of the running picture.
    path: Option<PathBuf>,
    /// No preview is made before.
    next: Instant,
}

impl Previews {
    /// Those in `folder`, by the model of this fingerprint. What another worker left is removed.
    pub fn new(folder: &Path, fingerprint: &str) -> Previews {
        let _ = fs::create_dir_all(folder);
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension != "json") {
                let _ = fs::remove_file(entry.path());
            }
        }
        let name = format!("fit-{}.json", files::sha256(fingerprint));
        let fit_path = folder.join(name);
        let fit = LatentFit::kept(&fit_path);
        Previews { folder: folder.to_owned(), fit_path, fit, path: None, next: Instant::now() }
    }

    /// An attempt at a picture begins.
    pub fn begin(&mut self, job: i64, index: u32) {
        self.end();
        self.path = Some(preview::path(&self.folder, job, index));
        self.next = Instant::now();
    }

    /// It has ended.
    pub fn end(&mut self) {
        if let Some(path) = self.path.take() {
            let _ = fs::remove_file(path);
        }
    }

    /// Shows `latents`, where it is time for that. Whatever cannot be shown is left out: nothing
    /// depends on it.
    pub fn look(&mut self, latents: &mut dyn FnMut() -> Option<Latents>) {
        let began = Instant::now();
        let Some(path) = self.path.as_ref().filter(|_| began >= self.next) else { return };
        if let Some(painted) = latents().and_then(|latents| self.fit.paint(&latents))
            && let Err(error) = preview::write(path, &painted)
        {
            tracing::debug!("{}: no preview: {error}", path.display());
        }
        let took = began.elapsed();
        tracing::trace!(took_us = took.as_micros(), "preview");
        self.next = began + INTERVAL.max(took * SHARE);
    }

    /// Learns from a picture that was finished.
    pub fn learn(&mut self, latents: &Latents, pixels: &Pixels) {
        self.fit.learn(latents, pixels);
        if let Err(error) = self.fit.keep(&self.fit_path) {
            tracing::debug!("{}: not kept: {error}", self.fit_path.display());
        }
    }
}
