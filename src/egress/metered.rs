//! A socket that gives no more than was allowed: an answer without end takes neither memory nor time.
//!
//! The library passes over answers of the class 1xx by itself and has no bound for all of them together.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// So many bytes may still come.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    /// Nothing where there is no bound.
    bytes_max: Option<u64>,
    /// Taken from by the socket, renewed by whoever sends.
    left: Arc<AtomicU64>,
}

impl Allowance {
    /// At most so many after each [`Allowance::renew`], and before the first.
    pub fn of(bytes: u64) -> Self {
        Allowance {
            bytes_max: Some(bytes),
            left: Arc::new(AtomicU64::new(bytes)),
        }
    }

    /// Any number.
    pub fn any() -> Self {
        Allowance {
            bytes_max: None,
            left: Arc::default(),
        }
    }

    /// For the next answer.
    pub fn renew(&self) {
        if let Some(bytes) = self.bytes_max {
            self.left.store(bytes, Ordering::Relaxed);
        }
    }
}

/// A socket whose reading is bounded.
#[derive(Debug)]
pub(super) struct Metered {
    socket: TcpStream,
    allowance: Allowance,
}

impl Metered {
    pub fn new(socket: TcpStream, allowance: Allowance) -> Self {
        Metered { socket, allowance }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = match self.allowance.bytes_max {
            None => u64::MAX,
            Some(_) => self.allowance.left.load(Ordering::Relaxed),
        };
        if left == 0 {
            let error = io::Error::new(io::ErrorKind::InvalidData, "the answer is too long");
            return Poll::Ready(Err(error));
        }
        let room = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        let read = Pin::new(&mut self.socket).poll_read(context, &mut part);
        let count = part.filled().len();
        if self.allowance.bytes_max.is_some() {
            self.allowance.left.fetch_sub(count as u64, Ordering::Relaxed);
        }
        buffer.advance(count);
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
