//! The text of a stream of server-sent events, read piece by piece as it comes (WHATWG HTML, 9.2).

use crate::limits;

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Its kind.
    pub event: String,
    /// Cursor, for those that move it.
    pub id: Option<String>,
    /// The bytes of its data.
    pub data: Vec<u8>,
}

/// A message longer than any that a server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stream holds a message of more than {} bytes",
    limits::CLIENT_MESSAGE_BYTES_MAX
)]
pub struct TooLong;

/// What was read of a stream and not given on yet.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    message: Message,
    has_data: bool,
}

impl Parser {
    /// Takes the next bytes and gives the messages that they complete.
    ///
    /// # Errors
    /// [`TooLong`]; nothing further should be read then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Message>, TooLong> {
        let mut done = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.len() + self.message.data.len() > limits::CLIENT_MESSAGE_BYTES_MAX {
                return Err(TooLong);
            }
            if self.line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                done.extend(self.take_line(line.trim_ascii_end()));
            }
        }
        Ok(done)
    }

    fn take_line(&mut self, line: &[u8]) -> Option<Message> {
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            return std::mem::take(&mut self.has_data).then_some(message);
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => self.message.event = String::from_utf8_lossy(value).into_owned(),
            b"id" => self.message.id = Some(String::from_utf8_lossy(value).into_owned()),
            b"data" => {
                if self.has_data {
                    self.message.data.push(b'\n');
                }
                self.message.data.extend_from_slice(value);
                self.has_data = true;
            }
            // Comments, hints, and what later versions may add.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let text = "retry: 2000\n\nid: 7\nevent: job.created\ndata: {\"a\": 1}\n\n: hello\nid: 8\r\nevent: x\r\ndata:é\r\ndata: b\r\n\r\nid: 9\n\ndata: rest";
        let message = |id: &str, event: &str, data: &str| Message {
            event: event.to_owned(),
            id: Some(id.to_owned()),
            data: data.as_bytes().to_vec(),
        };
        let expected = [
            message("7", "job.created", "{\"a\": 1}"),
            message("8", "x", "é\nb"),
        ];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for part in text.as_bytes().chunks(size) {
                found.extend(parser.push(part).unwrap());
            }
            assert_eq!(found, expected, "cut in pieces of {size}");
        }
    }

    #[test]
    fn a_message_without_end_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; 1 << 20];
        let refused = (0..16).find_map(|_| parser.push(&piece).err());
        assert_eq!(refused, Some(TooLong));
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &piece, b"\n"].concat();
        assert_eq!((0..16).find_map(|_| parser.push(&line).err()), Some(TooLong));
    }
}
