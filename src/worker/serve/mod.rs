//! The child's side: the main thread reads requests, another one owns the device for life, a third
//! one writes pictures.
//!
//! The process ends in one of two ways: the device thread ends (a fatal error, nothing more to do),
//! or the input ends and the device thread does not notice in time.

mod device;
mod events;
mod hashing;
mod preview;
mod render;
mod signals;
mod tracker;
mod writer;

use std::io::{self, BufRead, Read};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use self::events::Events;
use super::exit::EXIT_NO_MEMORY;
use super::last_word;
use super::protocol::{LINE_BYTES_MAX, PROTOCOL_VERSION, RenderRequest, Request, WorkerEvent};
use crate::recent_log;

/// How long a running render may take to notice the end of the input.
const STOP_GRACE: Duration = Duration::from_millis(1500);

/// One running, one sent ahead: more is a supervisor gone wrong.
const REQUESTS_WAITING_MAX: usize = 1;

/// Deep expression trees of a tokenizer's patterns recurse; the default of 2 MiB is small for them.
const DEVICE_STACK_BYTES: usize = 16 << 20;

/// Exit statuses of sysexits(3): not available, internal error, input/output error, protocol error.
const EXIT_NOT_LOADED: i32 = 69;
const EXIT_FATAL: i32 = 70;
const EXIT_NO_SUPERVISOR: i32 = 74;
const EXIT_PROTOCOL: i32 = 76;

/// What the device thread is to do, one after the other.
enum Task {
    Render(Box<RenderRequest>),
    TellMemory,
    TellCard,
}

/// What the running render asks at every step.
#[derive(Default)]
struct Stop {
    /// The input has ended: everything stops.
    all: AtomicBool,
    /// The last attempt that a request cancelled. Attempt ids are never used twice, so it need not
    /// be cleared.
    attempt_id: AtomicI64,
}

impl Stop {
    fn all_asked(&self) -> bool {
        self.all.load(Ordering::Relaxed)
    }

    fn asked(&self, attempt_id: i64) -> bool {
        self.all_asked() || self.attempt_id.load(Ordering::Relaxed) == attempt_id
    }
}

/// Serves until the end of standard input; the process's exit status.
pub fn serve() -> ExitCode {
    signals::offer_to_the_kernel();
    let events = match signals::prepare().and_then(|()| Events::take_stdout()) {
        Ok(events) => events,
        Err(error) => {
            tracing::error!("the worker cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    events.send(&WorkerEvent::Hello {
        protocol: PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    });
    let stop = Arc::new(Stop::default());
    if let Err(error) = read_requests(&mut io::stdin().lock(), events, &stop) {
        tracing::error!("bad input from the supervisor: {error}");
        exit(EXIT_PROTOCOL);
    }
    stop.all.store(true, Ordering::Relaxed);
    // The device thread ends the process; this is for the case that it cannot.
    thread::sleep(STOP_GRACE);
    exit(0)
}

/// Passes requests on until the end of the input.
fn read_requests(input: &mut impl BufRead, events: Events, stop: &Arc<Stop>) -> io::Result<()> {
    let load = match next_request(input)? {
        Some(Request::Load(load)) => *load,
        Some(other) => return Err(bad(format!("the first request must be load, not {other:?}"))),
        None => return Ok(()),
    };
    if let Err(error) = last_word::open(&load.last_word_path) {
        let path = load.last_word_path.display();
        tracing::warn!("{path}: what the worker says last will not be known: {error}");
    }
    let (tasks, inbox) = sync_channel(REQUESTS_WAITING_MAX);
    let events = Arc::new(events);
    let device = device::Device { load, inbox, events, stop: Arc::clone(stop) };
    thread::Builder::new()
        .name("device".to_owned())
        .stack_size(DEVICE_STACK_BYTES)
        .spawn(|| device.run_to_exit())?;
    while let Some(request) = next_request(input)? {
        pass_on(request, &tasks, stop)?;
    }
    Ok(())
}

fn pass_on(request: Request, tasks: &SyncSender<Task>, stop: &Stop) -> io::Result<()> {
    let to_device = |task| tasks.try_send(task).map_err(|error| bad(error.to_string()));
    match request {
        Request::Load(_) => Err(bad("the model is loaded once only".to_owned())),
        Request::Render(render) => to_device(Task::Render(render)),
        Request::Memory => to_device(Task::TellMemory),
        Request::Card => to_device(Task::TellCard),
        Request::Cancel { attempt_id } => {
            stop.attempt_id.store(attempt_id, Ordering::Relaxed);
            Ok(())
        }
    }
}

/// The next request; `None` at the end of the input, also in the middle of a line.
fn next_request(input: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = Vec::new();
    input.take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
    match line.last() {
        Some(b'\n') => Ok(Some(serde_json::from_slice(&line)?)),
        _ if line.len() == LINE_BYTES_MAX => {
            Err(bad(format!("a line is longer than {LINE_BYTES_MAX} bytes")))
        }
        _ => Ok(None),
    }
}

fn bad(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Ends the process once its log is written: among what is not written yet stands why it ends.
fn exit(status: i32) -> ! {
    recent_log::flush();
    end(status)
}

/// Ends the process at once, also in a handler of a signal, where a lock may be held by the very
/// thread that it has stopped. Exit handlers are left out: those of a device's driver may wait for
/// its running work.
fn end(status: i32) -> ! {
    if ![EXIT_FATAL, EXIT_NO_MEMORY].contains(&status) {
        last_word::well();
    }
    // SAFETY: `_exit` has no preconditions; every event is written when it is sent, so nothing is
    // lost.
    unsafe { libc::_exit(status) }
}
