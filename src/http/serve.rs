//! Connections: how many, how slow they may be, and how they end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tower_service::Service;
use tracing::{debug, warn};

use super::listen::Listener;

/// By a port, or by a socket in the file system.
type Stream = Either<TcpStream, UnixStream>;

/// At once; whoever comes later waits for one to end. All streams of events leave as many again.
const CONNECTIONS_MAX: usize = 400;

/// For the headers of a request, counted from the end of the one before: nobody keeps a connection
/// for longer without asking for something.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);

/// For what was sent to be received.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// For all headers of a request.
const HEADER_BYTES_MAX: usize = 32 << 10;

/// How long answers may take to their end when the daemon ends.
const END_GRACE: Duration = Duration::from_secs(3);

/// After an error of the system that the next connection would meet as well (no file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves connections until `stop`, then gives them a moment to end.
pub async fn serve(listener: Listener, router: Router, stop: &CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    while let Some((slot, stream)) =
        stop.run_until_cancelled(accept(&listener, slots.clone())).await
    {
        connections.spawn(connection(stream, router.clone(), slot, stop.clone()));
        while connections.try_join_next().is_some() {}
    }
    drop((listener, router));
    let ended = timeout(END_GRACE, async { while connections.join_next().await.is_some() {} });
    if ended.await.is_err() {
        connections.shutdown().await;
    }
}

async fn accept(listener: &Listener, slots: Arc<Semaphore>) -> (OwnedSemaphorePermit, Stream) {
    let slot = slots.acquire_owned().await.expect("nobody closes it");
    let mut was_told = false;
    loop {
        match listener.accept().await {
            Ok(stream) => return (slot, stream),
            Err(error) if !was_told => warn!(%error, "no connection can be accepted for now"),
            Err(_) => {}
        }
        was_told = true;
        sleep(ACCEPT_PAUSE).await;
    }
}

/// One connection to its end. `_slot` is free again then.
async fn connection(
    stream: Stream,
    router: Router,
    _slot: OwnedSemaphorePermit,
    stop: CancellationToken,
) {
    if let Err(error) = set_up(&stream) {
        return debug!(%error, "a connection cannot be set up");
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        router.clone().call(request.map(Body::new))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT);
    http.max_buf_size(HEADER_BYTES_MAX);
    let mut served = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}

fn set_up(stream: &Stream) -> std::io::Result<()> {
    let Either::Left(stream) = stream else { return Ok(()) };
    stream.set_nodelay(true)?;
    let timeout_ms = WRITE_TIMEOUT.as_millis() as u32;
    Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, timeout_ms)?)
}
