//! One WebSocket as its session sees it: whole messages in, messages out, and every way to end with its code.
//!
//! The frames themselves are the library's (RFC 6455); those for many are encoded once and written between its own, never within one. What it leaves open stands here: how much a client may send, how
//! long messages go out without being held, and an end that the client gets to see.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::connection::Guarded;
use super::hold::Ending;
use crate::clock::Clock;
use crate::limits;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The client closed it, or is gone: nothing more to say but the echo.
    Left,
    /// The server stops.
    Stopping,
    /// The frames are not those of RFC 6455.
    Protocol,
    /// A text that is not UTF-8.
    NotUtf8,
    /// More frames than may come.
    TooMany,
    /// A message that is too long.
    TooBig,
    /// What was to be sent cannot be read; the client comes back and resumes.
    Failed,
    /// The token or session is over.
    Revoked,
    /// The client does not read.
    TooSlow,
}

impl Closing {
    /// The code, and why in words; none where the client began.
    fn code(self) -> Option<(u16, &'static str)> {
        Some(match self {
            Closing::Left => return None,
            Closing::Stopping => (1001, "the server is stopping"),
            Closing::Protocol => (1002, "not a frame that may come here"),
            Closing::NotUtf8 => (1007, "the text is not UTF-8"),
            Closing::TooMany => (1008, "too much in a second"),
            Closing::TooBig => (1009, "the message is too long"),
            Closing::Failed => (1011, "the events cannot be read now; resume"),
            Closing::Revoked => (4401, "the token or session is over"),
            Closing::TooSlow => (4408, "nothing was read for too long; resume"),
        })
    }
}

impl From<Ending> for Closing {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Stopping => Closing::Stopping,
            Ending::Revoked => Closing::Revoked,
        }
    }
}

impl From<Error> for Closing {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => Closing::TooSlow,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Closing::Left,
            Error::Protocol(_) => Closing::Protocol,
            Error::Utf8(_) => Closing::NotUtf8,
            Error::Capacity(_) => Closing::TooBig,
            Error::WriteBufferFull(_) => Closing::TooSlow,
            _ => Closing::Left,
        }
    }
}

/// What a client sent.
#[derive(Debug)]
pub enum Heard {
    /// A text.
    Text(Utf8Bytes),
    /// Bytes, where only texts have a meaning.
    Binary,
    /// One beyond how many may come in a second.
    OneTooMany(Utf8Bytes),
    /// A frame that means nothing but that the client is there.
    Life,
}

/// One socket.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<Guarded>,
    /// Frames that were made for many, and how much of them was sent.
    shared: Bytes,
    sent: usize,
    clock: Arc<dyn Clock>,
    /// The second that is counted, and what came in it.
    second: u64,
    messages: u32,
    /// Bytes and frames that had been read when it began.
    taken_before: u64,
    frames_before: u64,
}

impl Socket {
    /// Takes over after the handshake. `already_read` came behind the request.
    pub async fn new(mut socket: Guarded, already_read: &[u8], clock: Arc<dyn Clock>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(limits::WS_READ_BYTES)
            .write_buffer_size(limits::WS_WRITE_BYTES)
            // Holds what is gathered, one frame more, and the end.
            .max_write_buffer_size(3 * limits::WS_WRITE_BYTES)
            .max_message_size(Some(limits::WS_MESSAGE_BYTES_MAX))
            .max_frame_size(Some(limits::WS_MESSAGE_BYTES_MAX));
        socket.count_frames(already_read);
        let read = already_read.to_vec();
        let stream = WebSocketStream::from_partially_read(socket, read, Role::Server, Some(config)).await;
        Socket {
            stream,
            shared: Bytes::new(),
            sent: 0,
            second: clock.monotonic_ms() / 1_000,
            clock,
            messages: 0,
            taken_before: 0,
            frames_before: 0,
        }
    }

    /// Waits for the next message or sign of life. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Why the connection must end.
    pub async fn hear(&mut self) -> Result<Heard, Closing> {
        let message = poll_fn(|context| {
            // Before the read: what comes in it counts for this second.
            self.turn_second();
            match self.stream.poll_next_unpin(context) {
                Poll::Ready(None) => Poll::Ready(Err(Closing::Left)),
                Poll::Ready(Some(message)) => Poll::Ready(message.map_err(Closing::from)),
                // The library goes on by itself through fragments that come to nothing.
                Poll::Pending if self.is_flooded() => Poll::Ready(Err(Closing::TooMany)),
                Poll::Pending => Poll::Pending,
            }
        });
        let message = message.await?;
        if self.is_flooded() {
            return Err(Closing::TooMany);
        }
        if matches!(message, Message::Text(_) | Message::Binary(_)) {
            self.messages += 1;
        }
        let is_one_too_many = self.messages > limits::WS_MESSAGES_PER_SECOND_MAX;
        Ok(match message {
            Message::Text(text) if is_one_too_many => Heard::OneTooMany(text),
            Message::Text(text) => Heard::Text(text),
            Message::Binary(_) => Heard::Binary,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Heard::Life,
            Message::Close(_) => return Err(Closing::Left),
        })
    }

    fn turn_second(&mut self) {
        let second = self.clock.monotonic_ms() / 1_000;
        if second != self.second {
            (self.second, self.messages) = (second, 0);
            self.taken_before = self.stream.get_ref().taken();
            self.frames_before = self.stream.get_ref().frames();
        }
    }

    fn is_flooded(&self) -> bool {
        let socket = self.stream.get_ref();
        let frames = socket.frames() - self.frames_before;
        frames > u64::from(limits::WS_FRAMES_PER_SECOND_MAX)
            || socket.taken() - self.taken_before > limits::WS_BYTES_PER_SECOND_MAX
    }

    /// Gathers a message whose end is shared with others; [`Socket::flush`] sends what is gathered.
    ///
    /// # Errors
    /// Why the connection must end.
    pub async fn push(&mut self, head: &str, part: &Bytes) -> Result<(), Closing> {
        for frame in frames(head, part) {
            self.stream.feed(Message::Frame(frame)).await?;
        }
        Ok(())
    }

    /// Sends frames that were made once for many, behind what is gathered.
    ///
    /// # Errors
    /// Why the connection must end.
    pub async fn push_frames(&mut self, frames: &Bytes) -> Result<(), Closing> {
        self.stream.flush().await?;
        (self.shared, self.sent) = (frames.clone(), 0);
        self.send_shared().await
    }

    /// Goes on where frames may have been cut short: nothing else may be sent within one.
    async fn send_shared(&mut self) -> Result<(), Closing> {
        while self.sent < self.shared.len() {
            let left = &self.shared[self.sent..];
            // Moves on by what was written, so that dropping the future loses nothing.
            let written = self.stream.get_mut().write(left).await.map_err(Error::Io)?;
            if written == 0 {
                return Err(Closing::Left);
            }
            self.sent += written;
        }
        self.shared = Bytes::new();
        self.sent = 0;
        Ok(())
    }

    /// Sends the rest of the frame that was begun, and no further one.
    async fn end_frame(&mut self) -> Result<(), Closing> {
        self.shared.truncate(frame_end(&self.shared, self.sent));
        self.send_shared().await
    }

    /// Sends what is gathered.
    ///
    /// # Errors
    /// Why the connection must end.
    pub async fn flush(&mut self) -> Result<(), Closing> {
        Ok(self.stream.flush().await?)
    }

    /// Sends a ping.
    ///
    /// # Errors
    /// Why the connection must end.
    pub async fn ping(&mut self, text: String) -> Result<(), Closing> {
        Ok(self.stream.send(Message::Ping(text.into())).await?)
    }

    /// Writes that waited and then went on: so often the client is known to have read.
    pub fn resumed(&self) -> u64 {
        self.stream.get_ref().resumed()
    }

    /// Ends the connection: says why, waits for the client's answer, and takes in what was on its way, since a socket
    /// that is dropped with something unread in it takes the last words back. All that within
    /// [`limits::WS_CLOSE_MS_MAX`].
    pub async fn finish(mut self, closing: Closing) {
        let whole = async {
            if self.end_frame().await.is_err() {
                return;
            }
            let said = match closing.code() {
                None => self.stream.flush().await,
                Some((code, reason)) => {
                    let frame = CloseFrame {
                        code: CloseCode::from(code),
                        reason: Utf8Bytes::from_static(reason),
                    };
                    self.stream.close(Some(frame)).await
                }
            };
            if said.is_err() {
                return;
            }
            while let Some(Ok(_)) = self.stream.next().await {}
            let socket = self.stream.get_mut();
            let mut taken = [0; limits::WS_READ_BYTES];
            if socket.shutdown().await.is_ok() {
                while socket.read(&mut taken).await.is_ok_and(|read| read > 0) {}
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(limits::WS_CLOSE_MS_MAX), whole).await;
    }
}

/// Where the frame ends of which a server has sent the bytes up to `at`; `at` itself where one begins there (RFC 6455, 5.2).
fn frame_end(frames: &[u8], at: usize) -> usize {
    let mut end = 0;
    while end < at {
        let Some((head, rest)) = frames.get(end..).and_then(|left| left.split_first_chunk::<2>()) else {
            break;
        };
        let (length, long) = match head[1] & 0x7f {
            126 => (0, 2),
            127 => (0, 8),
            length => (usize::from(length), 0),
        };
        let long = rest.get(..long).unwrap_or_default();
        let length = long
            .iter()
            .fold(length, |length, byte| (length << 8) | usize::from(*byte));
        end = end.saturating_add(2 + long.len()).saturating_add(length);
    }
    end.min(frames.len())
}

/// The frames of a message: one, or several when it is long, each of which fits what is gathered.
fn frames<'m>(head: &'m str, part: &'m Bytes) -> impl Iterator<Item = Frame> + 'm {
    let is_short = head.len() + part.len() <= limits::WS_WRITE_BYTES;
    let pieces = if is_short {
        0
    } else {
        part.len().div_ceil(limits::WS_WRITE_BYTES)
    };
    let first = if is_short {
        [head.as_bytes(), part].concat()
    } else {
        head.as_bytes().to_vec()
    };
    let first = Frame::message(first, OpCode::Data(Data::Text), pieces == 0);
    let others = (0..pieces).map(move |index| {
        let start = index * limits::WS_WRITE_BYTES;
        let end = part.len().min(start + limits::WS_WRITE_BYTES);
        Frame::message(
            part.slice(start..end),
            OpCode::Data(Data::Continue),
            index + 1 == pieces,
        )
    });
    std::iter::once(first).chain(others)
}

/// Writes the frames of a message that many are sent.
pub fn encode_frames(head: &str, part: &Bytes, out: &mut Vec<u8>) {
    for frame in frames(head, part) {
        // Writing to memory cannot fail.
        let _ = frame.format(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_frame_is_found_from_anywhere_within_it() {
        let mut out = Vec::new();
        let mut ends = vec![0];
        for length in [
            0,
            1,
            125,
            126,
            300,
            limits::WS_WRITE_BYTES,
            2 * limits::WS_WRITE_BYTES + 7,
        ] {
            let part = Bytes::from(vec![b'x'; length]);
            for frame in frames("head", &part) {
                let _ = frame.format(&mut out);
                ends.push(out.len());
            }
        }
        assert!(ends.len() > 8);
        let mut next = ends.iter().peekable();
        for at in 0..=out.len() {
            while next.next_if(|end| **end < at).is_some() {}
            assert_eq!(frame_end(&out, at), **next.peek().unwrap(), "{at}");
        }
    }
}
