//! One file from a hub: pieces over several connections, hashed from the disk while they come.

use std::io::Read;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::answer::HttpAnswer;
use super::error::HubError;
use super::fault::{HttpFault, RetryCount};
use super::http::{Ask, HttpClient, is_same_host};
use super::huggingface::check_promise;
use super::partial::Partial;
use super::progress::FetchProgress;
use super::ranges::ByteRanges;
use super::repository::{ContentHash, RepoFile};

/// Hubs give one connection a part of the line only.
const CONNECTIONS: usize = 8;
/// A piece is what one request asks for: large enough that requests are few, small enough that the
/// connections end together.
const PIECE_BYTES_MIN: u64 = 1 << 20;
const PIECE_BYTES_MAX: u64 = 16 << 20;
const PIECES: u64 = 16;
/// What is read, and written, at a time.
const BUFFER_BYTES: usize = 256 << 10;
/// How much the hash reads before it looks up.
const HASH_STEP_BYTES: u64 = 32 << 20;
/// Between two entries in the journal, which is what a sudden end costs; or so many times what the
/// last one took, where the disk is slow.
const SAVE_INTERVAL: Duration = Duration::from_millis(250);
const SAVE_SHARE: u32 = 20;
/// How often the journal's keeper looks up when nothing comes.
const LOOK: Duration = Duration::from_millis(100);
/// A connection that brings less than this in that time is given up for a new one.
const SLOW_WINDOW: Duration = Duration::from_secs(30);
const SLOW_BYTES: u64 = 30 << 10;
/// More requests than this for each piece mean that it does not come forward.
const TRIES_PER_PIECE: u64 = 3;
const TRIES_MIN: u64 = 100;

/// What is fetched, and from where.
#[derive(Clone, Copy, Debug)]
pub struct TransferSource<'a> {
    pub client: &'a HttpClient,
    /// The hub's address of the file.
    pub address: &'a str,
    pub token: Option<&'a str>,
    pub file: &'a RepoFile,
    pub progress: &'a FetchProgress,
    /// Bytes of other files that are there already.
    pub before_bytes: u64,
}

/// One transfer, as its threads share it.
struct Transfer<'a> {
    source: TransferSource<'a>,
    partial: &'a Partial,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    done: ByteRanges,
    /// What is done, or somebody is at.
    claimed: ByteRanges,
    /// Where the hub led, for as long as it answers: each question to the hub itself is counted.
    direct: Option<String>,
    /// The hub sends whole files only, and somebody reads one.
    is_whole: bool,
    tries: u64,
    failure: Option<HubError>,
}

/// How an answer is to be read.
enum Reading {
    Piece,
    WholeOnly,
}

/// Fetches what `done` lacks into `partial`. Gives the hash of what then stands on the disk.
pub fn transfer(
    source: TransferSource<'_>,
    partial: &Partial,
    done: ByteRanges,
) -> Result<ContentHash, HubError> {
    let state = State { claimed: done.clone(), done, ..State::default() };
    let transfer = Transfer { source, partial, state: Mutex::new(state), changed: Condvar::new() };
    let pieces = source.file.bytes.div_ceil(transfer.piece_bytes().max(1));
    let hash = thread::scope(|scope| {
        for _ in 0..CONNECTIONS.min(usize::try_from(pieces).unwrap_or(CONNECTIONS)) {
            let work = || transfer.work();
            if let Err(error) =
                thread::Builder::new().name("fetch".to_owned()).spawn_scoped(scope, work)
            {
                transfer.fail(HubError::Passing(format!("no thread can be started: {error}")));
            }
        }
        transfer.keep()
    })?;
    if !transfer.lock().is_whole {
        return Ok(hash);
    }
    // Bytes may have been written again after they were hashed.
    let mut hash = ContentHash::new(&source.file.hash, transfer.length());
    transfer.hash(&mut hash, 0..transfer.length())?;
    Ok(hash)
}

impl Transfer<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn length(&self) -> u64 {
        self.source.file.bytes
    }

    fn piece_bytes(&self) -> u64 {
        (self.length() / PIECES).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX)
    }

    fn fail(&self, error: HubError) {
        self.lock().failure.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Hashes what is there from the beginning on, and keeps the journal, until all is there.
    fn keep(&self) -> Result<ContentHash, HubError> {
        let kept = self.keep_until_done();
        if let Err(error) = &kept {
            // What came until now is not to come again; the first error is the one that counts.
            let done = self.lock().done.clone();
            let _ = self.partial.save(&done);
            self.fail(HubError::Passing(error.to_string()));
        }
        kept
    }

    fn keep_until_done(&self) -> Result<ContentHash, HubError> {
        let mut hash = ContentHash::new(&self.source.file.hash, self.length());
        let mut hashed = 0;
        let mut save_at = Instant::now() + SAVE_INTERVAL;
        let mut saved_bytes = self.lock().done.bytes();
        while hashed < self.length() {
            self.source.progress.check()?;
            let (there, done) = self.wait_beyond(hashed)?;
            hashed = self.hash(&mut hash, hashed..there.min(hashed + HASH_STEP_BYTES))?;
            let began = Instant::now();
            if began >= save_at && done.bytes() > saved_bytes {
                self.partial.save(&done)?;
                saved_bytes = done.bytes();
                save_at = Instant::now() + SAVE_INTERVAL.max(began.elapsed() * SAVE_SHARE);
            }
        }
        Ok(hash)
    }

    /// What is there, a moment later at most where it is no more than `hashed`; how far without a
    /// gap, and all.
    fn wait_beyond(&self, hashed: u64) -> Result<(u64, ByteRanges), HubError> {
        let mut state = self.lock();
        if state.done.prefix_end() <= hashed && state.failure.is_none() {
            let waited = self.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        match state.failure.take() {
            Some(error) => Err(error),
            None => Ok((state.done.prefix_end().max(hashed), state.done.clone())),
        }
    }

    fn hash(&self, hash: &mut ContentHash, range: Range<u64>) -> Result<u64, HubError> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut at = range.start;
        while at < range.end {
            let bytes = usize::try_from(range.end - at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
            self.partial.read_at(&mut buffer[..bytes], at)?;
            hash.update(&buffer[..bytes]);
            at += bytes as u64;
        }
        Ok(at)
    }

    /// A connection: piece after piece, as long as there are any.
    fn work(&self) {
        let mut retries = RetryCount::default();
        while let Some(piece) = self.claim() {
            let mut at = piece.start;
            let ended = self.fetch_piece(&piece, &mut at).and_then(|reading| match reading {
                Reading::Piece => Ok(()),
                Reading::WholeOnly => self.fetch_whole(),
            });
            if at > piece.start {
                retries.forget();
            }
            let Err(fault) = ended else { continue };
            self.lock().claimed.remove(at..piece.end);
            if let Err(error) = retries.wait(fault, self.source.progress) {
                return self.fail(error);
            }
        }
    }

    /// The next bytes that nobody is at.
    fn claim(&self) -> Option<Range<u64>> {
        let mut state = self.lock();
        if state.failure.is_some() || state.is_whole {
            return None;
        }
        let piece = state.claimed.first_gap(self.length(), self.piece_bytes())?;
        state.claimed.add(piece.clone());
        state.tries += 1;
        if state.tries > TRIES_MIN + TRIES_PER_PIECE * self.length().div_ceil(self.piece_bytes()) {
            let told = format!("{}: it breaks off over and over", self.source.file.path);
            state.failure.get_or_insert(HubError::Passing(told));
            return None;
        }
        Some(piece)
    }

    /// Asks for the piece; `at` is how far it came.
    fn fetch_piece(&self, piece: &Range<u64>, at: &mut u64) -> Result<Reading, HttpFault> {
        let mut answer = self.ask(Some((piece.start, piece.end)))?;
        match answer.status {
            206 if answer.content_range() == Some((piece.clone(), self.length())) => {}
            200 if *piece == (0..self.length()) => self.check_whole(&answer)?,
            200 => {
                self.check_whole(&answer)?;
                return Ok(Reading::WholeOnly);
            }
            416 => return Err(self.fault("the hub says that it is shorter than it was listed")),
            _ => return Err(self.fault("other bytes came than were asked for")),
        }
        self.receive(&mut answer, at, piece.end)?;
        Ok(Reading::Piece)
    }

    /// For a hub that sends nothing but whole files. One connection reads from the start; what is
    /// there already comes again.
    fn fetch_whole(&self) -> Result<(), HttpFault> {
        {
            let mut state = self.lock();
            if state.is_whole {
                return Ok(());
            }
            state.is_whole = true;
        }
        let mut retries = RetryCount::default();
        loop {
            let before = self.lock().done.bytes();
            let fault = match self.ask(None).and_then(|mut answer| {
                self.check_whole(&answer)?;
                self.receive(&mut answer, &mut 0, self.length())
            }) {
                Ok(()) => return Ok(()),
                Err(fault) => fault,
            };
            if self.lock().done.bytes() > before {
                retries.forget();
            }
            retries.wait(fault, self.source.progress).map_err(HttpFault::Final)?;
        }
    }

    /// Asks where the hub led before, else the hub.
    fn ask(&self, range: Option<(u64, u64)>) -> Result<HttpAnswer, HttpFault> {
        let TransferSource { client, address, token, file, .. } = self.source;
        let direct = self.lock().direct.clone();
        if let Some(url) = &direct {
            return client.get(&Ask { url, token: None, range }).map_err(|fault| {
                // Signed addresses end; then the hub gives another one.
                self.lock().direct = None;
                fault.that_passes()
            });
        }
        let answer = client.get(&Ask { url: address, token, range })?;
        check_promise(answer.linked.as_deref(), file)?;
        if !is_same_host(&answer.url, address) {
            self.lock().direct = Some(answer.url.clone());
        }
        Ok(answer)
    }

    /// Fails where an answer without a range is not the whole file.
    fn check_whole(&self, answer: &HttpAnswer) -> Result<(), HttpFault> {
        let kind = answer.header("content-type").unwrap_or_default();
        let is_page = kind.starts_with("text/html") && !self.source.file.path.ends_with(".html");
        if is_page {
            return Err(self.fault("a web page came in its place: a proxy, or a page to log in?"));
        }
        match answer.body.content_length() {
            Some(bytes) if bytes != self.length() => {
                Err(self.fault(&format!("{bytes} bytes come, where {} were listed", self.length())))
            }
            _ => Ok(()),
        }
    }

    /// Reads the answer into its place, from `at` to `end`.
    fn receive(&self, answer: &mut HttpAnswer, at: &mut u64, end: u64) -> Result<(), HttpFault> {
        if answer.header("content-encoding").is_some_and(|coding| coding != "identity") {
            return Err(self.fault("it comes compressed, which nobody asked for"));
        }
        let url = answer.url.clone();
        let mut body = answer.body.as_reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        let (mut window, mut window_at) = (Instant::now(), *at);
        while *at < end {
            let wanted = usize::try_from(end - *at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
            let read = body.read(&mut buffer[..wanted]);
            let bytes = read.map_err(|error| HttpFault::of_body(&url, &error))?;
            if bytes == 0 {
                return Err(self.fault("it broke off"));
            }
            self.partial.write_at(&buffer[..bytes], *at).map_err(HttpFault::Final)?;
            self.note(*at..*at + bytes as u64)?;
            *at += bytes as u64;
            if window.elapsed() >= SLOW_WINDOW {
                if *at - window_at < SLOW_BYTES {
                    return Err(self.fault("it came too slowly"));
                }
                (window, window_at) = (Instant::now(), *at);
            }
        }
        Ok(())
    }

    /// These bytes are written.
    fn note(&self, range: Range<u64>) -> Result<(), HttpFault> {
        let TransferSource { progress, before_bytes, .. } = self.source;
        progress.check().map_err(HttpFault::Final)?;
        progress.receive(range.end - range.start);
        let mut state = self.lock();
        if state.failure.is_some() {
            return Err(HttpFault::Final(HubError::Stopped));
        }
        state.done.add(range);
        progress.set_done(before_bytes + state.done.bytes());
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    fn fault(&self, what: &str) -> HttpFault {
        HttpFault::passing(format!("{}: {what}", self.source.file.path))
    }
}
