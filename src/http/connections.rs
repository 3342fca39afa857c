//! The connections that are open, and which of them makes room for another.
//!
//! All programs of a machine have one address here, so no address tells who only holds a place.
//! What tells is silence: where all places are taken, whoever comes gets the place of the
//! connection on which nothing has moved for longest. One whose request has come whole and is being
//! answered is not silent, however long that takes; of the others those go first that still owe us
//! a request.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// All places.
pub struct Connections {
    slots: Arc<Semaphore>,
    open: Arc<Mutex<HashMap<u64, Arc<Connection>>>>,
    /// Of the connection that comes next.
    next_id: u64,
}

impl Connections {
    pub fn new(max: usize) -> Connections {
        Connections { slots: Arc::new(Semaphore::new(max)), open: Arc::default(), next_id: 0 }
    }

    /// A place for one more, as soon as there is one.
    pub async fn place(&mut self) -> Seat {
        let slot = match self.slots.clone().try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                self.make_room();
                self.slots.clone().acquire_owned().await.expect("nobody closes it")
            }
        };
        let (id, connection) = (self.next_id, Arc::new(Connection::new()));
        self.next_id += 1;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(id, connection.clone());
        Seat { id, connection, open: self.open.clone(), _slot: slot }
    }

    /// Ends the connection that is spared most easily; none where all are being answered.
    fn make_room(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = open.values().filter_map(|one| Some((one.silence()?, one)));
        if let Some((_, one)) = silent.min_by_key(|(silence, _)| *silence) {
            one.ended.cancel();
        }
    }
}

/// The place of one connection, until it is dropped.
pub struct Seat {
    id: u64,
    connection: Arc<Connection>,
    open: Arc<Mutex<HashMap<u64, Arc<Connection>>>>,
    _slot: OwnedSemaphorePermit,
}

impl Seat {
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Returns when another connection is to have the place.
    pub async fn is_wanted(&self) {
        self.connection.ended.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// The client has a request to send, to its end.
const ASKING: u8 = 0;
/// The request is here, and its answer has not begun.
const OURS: u8 = 1;
/// The client has an answer to read, to its end.
const ANSWERED: u8 = 2;

/// What is seen of one connection.
pub struct Connection {
    began: Instant,
    /// Milliseconds from then until bytes moved last.
    moved_ms: AtomicU64,
    /// Whose turn it is.
    turn: AtomicU8,
    /// Told when its place is another's.
    ended: CancellationToken,
}

/// How easily a connection is spared, the most easily first: whether it has got an answer to its
/// last request, and when bytes moved on it.
type Silence = (bool, Instant);

impl Connection {
    fn new() -> Connection {
        Connection {
            began: Instant::now(),
            moved_ms: AtomicU64::new(0),
            turn: AtomicU8::new(ASKING),
            ended: CancellationToken::new(),
        }
    }

    /// Bytes have come or gone.
    pub fn moves(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(ms, Ordering::Relaxed);
    }

    /// `None` while we are to act, and where it is over.
    fn silence(&self) -> Option<Silence> {
        let turn = self.turn.load(Ordering::Relaxed);
        let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
        let is_spared = turn == OURS || self.ended.is_cancelled();
        (!is_spared).then_some((turn == ANSWERED, self.began + moved))
    }

    /// The body of a request whose headers are here.
    pub fn request(self: &Arc<Self>, body: Body) -> Body {
        if body.is_end_stream() {
            self.turn.store(OURS, Ordering::Relaxed);
            return body;
        }
        self.until_read(body, (ASKING, OURS))
    }

    /// The body of its answer.
    pub fn answer(self: &Arc<Self>, body: Body) -> Body {
        self.turn.store(ANSWERED, Ordering::Relaxed);
        self.until_read(body, (ANSWERED, ASKING))
    }

    fn until_read(self: &Arc<Self>, body: Body, turns: (u8, u8)) -> Body {
        Body::new(FollowedBody { body, connection: self.clone(), turns })
    }
}

/// A body with whose end another's turn comes.
struct FollowedBody {
    body: Body,
    connection: Arc<Connection>,
    /// From which turn to which.
    turns: (u8, u8),
}

impl HttpBody for FollowedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for FollowedBody {
    fn drop(&mut self) {
        let (from, to) = self.turns;
        // An answer may have begun before all of its request was read.
        let turn = &self.connection.turn;
        let _ = turn.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent_for(place: &Seat, ms: u64) {
        // The later bytes moved, the greater.
        place.connection.moved_ms.store(1000 - ms, Ordering::Relaxed);
    }

    #[tokio::test]
    async fn the_most_silent_makes_room_and_never_one_that_waits_for_us() {
        let mut connections = Connections::new(4);
        let mut places = Vec::new();
        for ms in [900, 500, 700, 800] {
            places.push(connections.place().await);
            silent_for(places.last().expect("a place"), ms);
        }
        let working = places[0].connection.request(Body::empty());
        drop(working);
        let reading = places[3].connection.answer(Body::from("a picture"));
        connections.make_room();
        let ended = |places: &[Seat]| -> Vec<bool> {
            places.iter().map(|place| place.connection.ended.is_cancelled()).collect()
        };
        assert_eq!(ended(&places), [false, false, true, false], "it owes a request for longest");
        connections.make_room();
        assert_eq!(ended(&places), [false, true, true, false], "the other one that owes one");
        connections.make_room();
        assert_eq!(ended(&places), [false, true, true, true], "then who reads an answer");
        connections.make_room();
        assert!(!ended(&places)[0], "whoever waits for us is never sent away");
        drop(reading);
        places.truncate(1);
        let place = tokio::time::timeout(Duration::from_secs(5), connections.place()).await;
        assert!(place.is_ok() && connections.open.lock().expect("no panic").len() == 2);
    }

    #[test]
    fn a_request_is_owed_until_its_body_is_read_and_the_next_one_after_the_answer() {
        let connection = Arc::new(Connection::new());
        let turn = || connection.turn.load(Ordering::Relaxed);
        let body = connection.request(Body::from("a job"));
        assert_eq!((turn(), body.size_hint().exact()), (ASKING, Some(5)));
        drop(body);
        assert_eq!(turn(), OURS);
        let late = connection.request(Body::from("a job"));
        let answer = connection.answer(Body::from("done"));
        drop(late);
        assert_eq!(turn(), ANSWERED, "it began before all was read");
        drop(answer);
        assert_eq!(turn(), ASKING);
    }
}
