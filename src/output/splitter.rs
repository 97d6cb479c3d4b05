//! Cuts a stream of bytes into lines of bounded length. Pure.

use super::index::LineKind;
use crate::limits::LOG_LINE_BYTES_MAX;

/// A line found: where it starts in its stream, how long it is, whether a newline ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub offset: u64,
    pub bytes: usize,
    pub kind: LineKind,
}

/// One stream's position between lines.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Splitter {
    line_start: u64,
    line_bytes: usize,
}

impl Splitter {
    /// Goes on where a line starts.
    pub fn at(line_start: u64) -> Self {
        Splitter {
            line_start,
            line_bytes: 0,
        }
    }

    /// Takes the next bytes of the stream; the lines that they end are added to `spans`.
    pub fn feed(&mut self, mut bytes: &[u8], spans: &mut Vec<Span>) {
        while !bytes.is_empty() {
            let room = LOG_LINE_BYTES_MAX - self.line_bytes;
            // One more than fits: a newline right behind a line of the greatest length belongs to it.
            let window = &bytes[..bytes.len().min(room + 1)];
            match window.iter().position(|byte| *byte == b'\n') {
                Some(at) => {
                    self.line_bytes += at;
                    spans.push(self.take(LineKind::Line));
                    bytes = &bytes[at + 1..];
                }
                None if window.len() > room => {
                    self.line_bytes += room;
                    spans.push(self.take(LineKind::Piece));
                    bytes = &bytes[room..];
                }
                None => {
                    self.line_bytes += window.len();
                    return;
                }
            }
        }
    }

    /// Ends the line that waits for its newline, if there is one.
    pub fn flush(&mut self) -> Option<Span> {
        (self.line_bytes > 0).then(|| self.take(LineKind::Piece))
    }

    fn take(&mut self, kind: LineKind) -> Span {
        let span = Span {
            offset: self.line_start,
            bytes: self.line_bytes,
            kind,
        };
        self.line_start += self.line_bytes as u64 + u64::from(kind == LineKind::Line);
        self.line_bytes = 0;
        span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(bytes: &[u8], chunk: usize) -> Vec<(u64, usize, LineKind)> {
        let (mut splitter, mut spans) = (Splitter::default(), Vec::new());
        for part in bytes.chunks(chunk) {
            splitter.feed(part, &mut spans);
        }
        spans.extend(splitter.flush());
        spans
            .iter()
            .map(|span| (span.offset, span.bytes, span.kind))
            .collect()
    }

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_arrive() {
        let mut bytes = b"one\n\ntwo\r\n".to_vec();
        bytes.extend(vec![b'x'; 2 * LOG_LINE_BYTES_MAX + 5]);
        bytes.extend(b"\nlast");
        let whole = split(&bytes, bytes.len());
        for chunk in [1, 2, 3, 7, 4_096, LOG_LINE_BYTES_MAX, LOG_LINE_BYTES_MAX + 1] {
            assert_eq!(split(&bytes, chunk), whole, "chunks of {chunk}");
        }
        let max = LOG_LINE_BYTES_MAX as u64;
        let expected = [
            (0, 3, LineKind::Line),
            (4, 0, LineKind::Line),
            (5, 4, LineKind::Line),
            (10, LOG_LINE_BYTES_MAX, LineKind::Piece),
            (10 + max, LOG_LINE_BYTES_MAX, LineKind::Piece),
            (10 + 2 * max, 5, LineKind::Line),
            (16 + 2 * max, 4, LineKind::Piece),
        ];
        assert_eq!(whole, expected);
    }

    #[test]
    fn a_line_of_the_greatest_length_is_whole_and_one_byte_more_is_cut() {
        let mut exact = vec![b'x'; LOG_LINE_BYTES_MAX];
        exact.push(b'\n');
        for chunk in [exact.len(), LOG_LINE_BYTES_MAX, 1_000] {
            assert_eq!(split(&exact, chunk), [(0, LOG_LINE_BYTES_MAX, LineKind::Line)]);
        }
        exact.insert(0, b'y');
        let cut = split(&exact, exact.len());
        assert_eq!(cut[0], (0, LOG_LINE_BYTES_MAX, LineKind::Piece));
        assert_eq!(cut[1], (LOG_LINE_BYTES_MAX as u64, 1, LineKind::Line));
    }
}
