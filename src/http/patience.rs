//! How long a client may leave what is sent to it unread.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream on which writing is an error once nothing has been taken for too long. A port could
/// have that from the system, a socket in the file system has it from nobody else.
pub struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Since something is there to be taken that is not.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub fn new(stream: S, patience: Duration) -> Patient<S> {
        Patient { stream, patience, waits: None }
    }

    /// What came of a try to write, unless that has been tried for too long.
    fn patiently<T>(
        &mut self,
        tried: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if tried.is_ready() {
            self.waits = None;
            return tried;
        }
        let patience = self.patience;
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waits.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.patiently(tried, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.patiently(tried, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::time::{sleep, timeout};

    use super::*;

    /// Long enough that a busy machine holds no reader up for it.
    const PATIENCE: Duration = Duration::from_secs(2);

    /// More than any buffer takes.
    const MUCH: usize = 2 << 20;

    async fn sent(stream: UnixStream) -> io::Result<()> {
        let mut stream = Patient::new(stream, PATIENCE);
        let much = vec![0; MUCH];
        let sent = timeout(Duration::from_secs(30), stream.write_all(&much));
        sent.await.expect("it ends by itself")
    }

    #[tokio::test]
    async fn who_takes_nothing_is_given_up_on_any_kind_of_socket() {
        let (server, _client) = UnixStream::pair().expect("sockets");
        let error = sent(server).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_reads_a_part_now_and_then_gets_all() {
        let (server, mut client) = UnixStream::pair().expect("sockets");
        let reader = tokio::spawn(async move {
            let (mut whole, mut part) = (0, vec![0; 1 << 20]);
            while whole < MUCH {
                sleep(PATIENCE / 4).await;
                whole += client.read(&mut part).await.expect("it goes on");
            }
        });
        sent(server).await.expect("all of it, though it took longer");
        reader.await.expect("it read all");
    }
}
