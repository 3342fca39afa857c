//! Connections: how many, how slow they may be, and how they end.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;
use tokio_util::io::{InspectReader, InspectWriter};
use tokio_util::sync::CancellationToken;
use tower_service::Service;
use tracing::{debug, warn};

use super::connections::{Connections, Seat};
use super::guard::HEADER_BYTES_MAX;
use super::listen::Listener;
use super::patience::Patient;

/// By a port, or by a socket in the file system.
type Stream = Either<TcpStream, UnixStream>;

/// For the headers of a request, counted from the end of the one before: nobody keeps a connection
/// for longer without asking for something.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);

/// For something of what is sent to be taken.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long answers may take to their end when the daemon ends.
const END_GRACE: Duration = Duration::from_secs(3);

/// After an error of the system that the next connection would meet as well (no file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves at most so many connections at once until `stop`, then gives them a moment to end.
pub async fn serve(listener: Listener, router: Router, max: usize, stop: &CancellationToken) {
    let (mut places, mut connections) = (Connections::new(max), JoinSet::new());
    while let Some((stream, place)) = stop.run_until_cancelled(accept(&listener, &mut places)).await
    {
        connections.spawn(connection(stream, place, router.clone(), stop.clone()));
        while connections.try_join_next().is_some() {}
    }
    drop((listener, router));
    let ended = timeout(END_GRACE, async { while connections.join_next().await.is_some() {} });
    if ended.await.is_err() {
        connections.shutdown().await;
    }
}

async fn accept(listener: &Listener, places: &mut Connections) -> (Stream, Seat) {
    let mut was_told = false;
    loop {
        match listener.accept().await {
            Ok(stream) => return (stream, places.place().await),
            Err(error) if !was_told => warn!(%error, "no connection can be accepted for now"),
            Err(_) => {}
        }
        was_told = true;
        sleep(ACCEPT_PAUSE).await;
    }
}

/// One connection to its end, or until another one gets its place.
async fn connection(stream: Stream, place: Seat, router: Router, stop: CancellationToken) {
    if let Err(error) = set_up(&stream) {
        return debug!(%error, "a connection cannot be set up");
    }
    let (read, written, asked) =
        (place.connection().clone(), place.connection().clone(), place.connection().clone());
    let stream = Patient::new(stream, WRITE_TIMEOUT);
    let stream = InspectWriter::new(stream, move |_| written.moves());
    let stream = InspectReader::new(stream, move |_| read.moves());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let request = request.map(|body| asked.request(Body::new(body)));
        let (answer, asked) = (router.clone().call(request), asked.clone());
        async move { Ok::<_, Infallible>(answer.await?.map(|body| asked.answer(body))) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT);
    http.max_buf_size(HEADER_BYTES_MAX);
    let mut served = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = place.is_wanted() => return,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}

/// What is on its way to another machine counts as taken by [`Patient`]: where that machine has
/// gone, the system tells it after the same time.
fn set_up(stream: &Stream) -> std::io::Result<()> {
    let Either::Left(stream) = stream else { return Ok(()) };
    stream.set_nodelay(true)?;
    let timeout_ms = WRITE_TIMEOUT.as_millis() as u32;
    Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, timeout_ms)?)
}
