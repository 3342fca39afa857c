//! The thread that writes pictures while the device makes the next one.
//!
//! It has at most one of them. Whoever brings the next waits until that one is written, so that
//! neither memory nor what a kill would cost can pile up.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use super::events::Events;
use super::tracker::millis;
use crate::attempt::{Failure, FailureKind, Made, Measured};
use crate::card::PendingUse;
use crate::engine::{Pixels, Stage};
use crate::output::encode::{Written, write_picture};
use crate::output::metadata::Metadata;
use crate::thumbnails::Thumbnails;
use crate::worker::last_word;
use crate::worker::protocol::{Done, Failed, RenderRequest, WorkerEvent};

/// A picture on its way to the disk.
pub struct Unwritten {
    pub request: RenderRequest,
    pub pixels: Pixels,
    pub metadata: Metadata,
    pub prompt_cut: bool,
    /// All but the writing, and the card.
    pub measured: Measured,
    pub card: PendingUse,
}

/// The device thread's side.
pub struct Writer {
    pictures: SyncSender<Unwritten>,
    /// A word for each time that the thread has nothing to write.
    free: Receiver<()>,
}

impl Writer {
    /// Starts the thread, which keeps small copies in the folder `thumbnails`. It has `complete`
    /// add to each picture what was not known when it was made.
    pub fn start(
        thumbnails: &Path,
        events: Arc<Events>,
        complete: impl Fn(&mut Unwritten) + Send + 'static,
    ) -> io::Result<Writer> {
        let (pictures, inbox) = sync_channel::<Unwritten>(1);
        let (free, is_free) = sync_channel(1);
        let mut thumbnails = Thumbnails::new(thumbnails);
        let work = move || {
            thumbnails.sweep();
            while free.send(()).is_ok() {
                let Ok(mut picture) = inbox.recv() else { return };
                complete(&mut picture);
                write(picture, &mut thumbnails, &events);
            }
        };
        thread::Builder::new().name("writer".to_owned()).spawn(work)?;
        Ok(Writer { pictures, free: is_free })
    }

    /// Waits until the picture before is written and its end is told.
    pub fn wait(&self) {
        let _ = self.free.recv();
    }

    /// Has `picture` written, after a [`Writer::wait`].
    pub fn write(&self, picture: Unwritten) {
        // The thread lives as long as this side of it.
        let _ = self.pictures.send(picture);
    }
}

/// Leaves the picture at the request's `picture_path`, or nothing there, and tells of it.
fn write(picture: Unwritten, thumbnails: &mut Thumbnails, events: &Events) {
    let Unwritten { request, pixels, metadata, prompt_cut, mut measured, card } = picture;
    let attempt_id = request.attempt_id;
    let start = Instant::now();
    let encode = || write_picture(&request.picture_path, &pixels, request.format, &metadata);
    let written = catch_unwind(AssertUnwindSafe(encode))
        .unwrap_or_else(|panic| Err(io::Error::other(words(&*panic))));
    if let Ok(Written { sha256, .. }) = &written
        && let Err(error) = thumbnails.keep(sha256, &pixels)
    {
        let path = request.picture_path.display();
        tracing::warn!("{path}: no small copy is kept: {error}");
    }
    measured.timings.picture_encode_ms = millis(start.elapsed());
    measured.card = card.wait();
    let event = match written {
        Ok(Written { bytes, sha256 }) => {
            let made = Made { bytes, sha256, prompt_cut, measured };
            WorkerEvent::Done(Done { attempt_id, made })
        }
        Err(error) => {
            WorkerEvent::Failed(Failed { attempt_id, failure: not_written(&error, measured) })
        }
    };
    last_word::well_after(attempt_id);
    events.send(&event);
}

fn not_written(error: &io::Error, measured: Measured) -> Failure {
    Failure {
        kind: FailureKind::Output { os_error: error.raw_os_error() },
        stage: Some(Stage::PictureEncode),
        message: format!("the picture cannot be written: {error}"),
        measured,
    }
}

/// What a panic says.
pub fn words(panic: &(dyn Any + Send)) -> String {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", message.unwrap_or("no message"))
}
