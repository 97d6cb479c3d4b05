//! How far the reading of a long file is: a bar with rate and time left, on a terminal alone.
//!
//! It goes to standard error and is taken away again at its end. Must never hold up the reading, nor be seen in a pipe.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::rc::Rc;

use super::style::{Look, duration, paint};
use crate::clock::{Clock, SystemClock};
use crate::limits;

const WIDTH: u64 = 24;

/// Counts what is read of one file.
#[derive(Debug)]
pub struct Meter {
    clock: SystemClock,
    bytes: u64,
    read: Cell<u64>,
    drawn_ms: Cell<Option<u64>>,
    is_terminal: bool,
}

impl Meter {
    /// A meter for a file; quiet where nobody looks.
    pub fn of(file: &Path) -> Rc<Self> {
        Rc::new(Meter {
            clock: SystemClock::default(),
            bytes: std::fs::metadata(file).map_or(0, |metadata| metadata.len()),
            read: Cell::new(0),
            drawn_ms: Cell::new(None),
            is_terminal: io::stderr().is_terminal(),
        })
    }

    /// Opens the file as often as verification needs; the meter begins anew with each time.
    pub fn opener(self: &Rc<Self>, file: &Path) -> impl Fn() -> io::Result<Box<dyn Read>> + use<> {
        let (meter, file) = (Rc::clone(self), file.to_owned());
        move || {
            meter.read.set(0);
            let source = io::BufReader::with_capacity(1 << 18, File::open(&file)?);
            let meter = Rc::clone(&meter);
            Ok(Box::new(Metered { source, meter }))
        }
    }

    fn advance(&self, read: usize) {
        self.read.set(self.read.get() + read as u64);
        if !self.is_terminal {
            return;
        }
        let now_ms = self.clock.monotonic_ms();
        let is_due = |drawn: u64| now_ms.saturating_sub(drawn) >= limits::METER_DRAW_MS;
        if self.drawn_ms.get().is_none_or(is_due) {
            self.drawn_ms.set(Some(now_ms));
            let text = text(self.read.get(), self.bytes, now_ms);
            // Nobody hears what cannot be said.
            let _ = write!(anstream::stderr().lock(), "\x1b[?7l\r  {text}\x1b[K\x1b[?7h");
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.drawn_ms.get().is_some() {
            let _ = write!(anstream::stderr().lock(), "\r\x1b[K");
        }
    }
}

struct Metered {
    source: io::BufReader<File>,
    meter: Rc<Meter>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.meter.advance(read);
        Ok(read)
    }
}

/// The bar after `elapsed_ms`: how much, at what rate, how long still.
fn text(read: u64, bytes: u64, elapsed_ms: u64) -> String {
    let read = read.min(bytes);
    let full = (read * WIDTH).checked_div(bytes).unwrap_or(WIDTH);
    let percent = (read * 100).checked_div(bytes).unwrap_or(100);
    let bar = |glyph: &str, cells: u64| glyph.repeat(usize::try_from(cells).unwrap_or_default());
    let mut text = format!(
        "{}{} {percent:3} %  {} of {}",
        paint(Look::Cyan, bar("━", full)),
        paint(Look::Dim, bar("─", WIDTH - full)),
        size(read),
        size(bytes),
    );
    // Before that a rate says nothing.
    if elapsed_ms >= limits::METER_DRAW_MS && read > 0 {
        let rate = read.saturating_mul(1_000) / elapsed_ms;
        let left_ms = (u128::from(bytes - read) * u128::from(elapsed_ms) / u128::from(read)) as u64;
        text.push_str(&format!(", {}/s, {} left", size(rate), duration(left_ms)));
    }
    text
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    let units = ["B", "KB", "MB", "GB"];
    let (mut tenths, mut unit) = (bytes.saturating_mul(10), 0);
    while tenths >= 10_000 && unit + 1 < units.len() {
        (tenths, unit) = (tenths / 1_000, unit + 1);
    }
    match (unit, tenths) {
        (0, _) | (_, 1_000..) => format!("{} {}", tenths / 10, units[unit]),
        (_, _) => format!("{}.{} {}", tenths / 10, tenths % 10, units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 KB"),
            (99_949, "99.9 KB"),
            (123_456, "123 KB"),
            (45_600_000, "45.6 MB"),
            (7_000_000_000_000, "7000 GB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn the_bar_tells_share_rate_and_time_left() {
        let quarter = text(25_000_000, 100_000_000, 5_000);
        assert!(
            quarter.contains(" 25 %  25.0 MB of 100 MB, 5.0 MB/s, 15.0 s left"),
            "{quarter}"
        );
        assert_eq!(quarter.matches('━').count(), 6);
        assert_eq!(quarter.matches('─').count(), 18);
        assert!(!text(1, 100, 10).contains("left"), "too early for a rate");
        assert!(text(200, 100, 1_000).contains("100 %  100 B of 100 B"));
        assert!(
            text(0, 0, 1_000).contains("100 %"),
            "an empty file is read at once"
        );
    }
}
