//! A connection that gives up on a peer which takes nothing for too long, or that may take no more; and what takes it over after
//! an upgrade.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::ws_frames::FrameCount;

/// A socket whose writes fail once the peer has read nothing for the given time, or while they wait when its leash ends.
#[derive(Debug)]
pub struct Guarded {
    socket: TcpStream,
    stall: Duration,
    /// Runs while a write waits.
    timer: Option<Pin<Box<Sleep>>>,
    /// Tied by the server when an answer goes on, untied at the next request.
    leash: Leash,
    /// Writes that waited and then went on.
    resumed: u64,
    /// Bytes read.
    taken: u64,
    /// Frames among them, where what is read is frames.
    frames: Option<FrameCount>,
}

impl Guarded {
    /// Guards a socket.
    pub fn new(socket: TcpStream, stall: Duration, leash: Leash) -> Self {
        Guarded {
            socket,
            stall,
            timer: None,
            leash,
            resumed: 0,
            taken: 0,
            frames: None,
        }
    }

    /// What is read from now on is frames, as was what had been read already.
    pub fn count_frames(&mut self, already_read: &[u8]) {
        let mut frames = FrameCount::default();
        frames.take(already_read);
        self.frames = Some(frames);
    }

    /// Frames that began.
    pub fn frames(&self) -> u64 {
        self.frames.as_ref().map_or(0, FrameCount::frames)
    }

    /// Writes that waited and then went on: so often the peer is known to have taken something.
    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Bytes that were read.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Passes on what a write came to, and looks at the time while it waits.
    fn watch<T>(&mut self, context: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.resumed += u64::from(self.timer.take().is_some());
            return write;
        }
        if self.leash.is_over(context) {
            let why = "the token or session is over";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
        let stall = self.stall;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => {
                // Whoever still has something to say, such as why it ends here, is given the same time again.
                self.timer = None;
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the peer takes nothing",
                )))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        self.taken += new.len() as u64;
        if let Some(frames) = &mut self.frames {
            frames.take(new);
        }
        read
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.watch(context, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.socket).poll_write_vectored(context, pieces);
        self.watch(context, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// What ends a connection whose peer leaves an answer lying: the answer itself is not asked for more until the peer has taken
/// what came before. The mutex guards the future, which is polled under it, by the connection's task alone.
#[derive(Clone, Default)]
pub struct Leash(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

impl Leash {
    /// Ties the connection: a write that waits when `over` comes to its end fails.
    pub fn tie(&self, over: impl Future<Output = ()> + Send + 'static) {
        *self.tied() = Some(Box::pin(over));
    }

    /// Unties it, for the next answer.
    pub fn untie(&self) {
        *self.tied() = None;
    }

    fn tied(&self) -> MutexGuard<'_, Option<BoxFuture<'static, ()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the connection when the answer changes.
    fn is_over(&self, context: &mut Context<'_>) -> bool {
        let mut tied = self.tied();
        let is_over = tied
            .as_mut()
            .is_some_and(|over| over.as_mut().poll(context).is_ready());
        if is_over {
            // It is never polled again.
            *tied = None;
        }
        is_over
    }
}

impl fmt::Debug for Leash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leash")
    }
}

/// What goes on with a connection after an answer that upgrades it.
pub type Takeover = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a handler leaves that. It runs in the task of the connection, so that the connection keeps its place and the
/// end of the server waits for it. Laid into each request.
#[derive(Clone, Default)]
pub struct Handover(Arc<Mutex<Option<Takeover>>>);

impl Handover {
    /// Leaves what takes the connection over.
    pub fn leave(&self, takeover: Takeover) {
        *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(takeover);
    }

    /// Takes what was left.
    pub fn take(&self) -> Option<Takeover> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .take()
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handover")
    }
}
