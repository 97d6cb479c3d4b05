//! How text looks on a terminal: weight, colour, state glyphs. Without a terminal, or with `NO_COLOR`, the codes are taken
//! out again by the writers of [`super::print`]. What comes from outside is made harmless by [`shown`].

use std::borrow::Cow;
use std::fmt;

/// A look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As it is.
    Plain,
    /// Stands out.
    Bold,
    /// Stands back.
    Dim,
    /// Good.
    Green,
    /// Bad.
    Red,
    /// Needs a look.
    Yellow,
    /// At work.
    Cyan,
}

impl Look {
    const fn code(self) -> &'static str {
        match self {
            Look::Plain => "",
            Look::Bold => "\x1b[1m",
            Look::Dim => "\x1b[2m",
            Look::Green => "\x1b[32m",
            Look::Red => "\x1b[31m",
            Look::Yellow => "\x1b[33m",
            Look::Cyan => "\x1b[36m",
        }
    }
}

/// Text in a look.
#[derive(Debug)]
pub struct Painted<T>(Look, T);

/// Gives `text` a look.
pub fn paint<T: fmt::Display>(look: Look, text: T) -> Painted<T> {
    Painted(look, text)
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == Look::Plain {
            return self.1.fmt(f);
        }
        f.write_str(self.0.code())?;
        self.1.fmt(f)?;
        f.write_str("\x1b[0m")
    }
}

/// Glyph and look of a state of a job, step or run.
pub fn state(status: &str) -> (&'static str, Look) {
    match status {
        "completed" => ("✓", Look::Green),
        "failed" | "partially_failed" => ("✗", Look::Red),
        "running" => ("●", Look::Cyan),
        "scheduled" => ("◌", Look::Plain),
        "cancelled" | "skipped" => ("–", Look::Yellow),
        _ => ("○", Look::Dim),
    }
}

/// Text from outside, fit for a terminal: colours stay, whatever else steers a terminal, or turns the direction of what
/// follows, is shown as `�`.
pub fn shown(text: &str) -> Cow<'_, str> {
    let turns = |letter| matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let harmless = |letter: char| !letter.is_control() && !turns(letter) || letter == '\t';
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 4);
    let (mut rest, mut coloured) = (text, false);
    while let Some(letter) = rest.chars().next() {
        if let Some(length) = colour_length(rest) {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            coloured = true;
            continue;
        }
        out.push(if harmless(letter) { letter } else { '\u{fffd}' });
        rest = &rest[letter.len_utf8()..];
    }
    if coloured {
        out.push_str("\x1b[0m");
    }
    Cow::Owned(out)
}

/// Length of the colour code (`ESC [ digits and ; m`) that `text` begins with.
fn colour_length(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("\x1b[")?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != ';')?;
    rest[end..].starts_with('m').then_some(end + 3)
}

/// A stretch of time as people read it.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{seconds}.{} s", ms % 1_000 / 100),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// A number with its thousands set apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_of_foreign_text_reach_the_terminal() {
        for (text, expected) in [
            ("plain\tüñ", "plain\tüñ"),
            ("\x1b[1;31mred", "\x1b[1;31mred\x1b[0m"),
            ("\x1b[2Jgone", "\u{fffd}[2Jgone"),
            ("\x1b]0;title\x07", "\u{fffd}]0;title\u{fffd}"),
            ("a\rb\u{9b}m", "a\u{fffd}b\u{fffd}m"),
            ("\x1b[", "\u{fffd}["),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn times_and_numbers_read_well() {
        assert_eq!(duration(0), "0.0 s");
        assert_eq!(duration(59_999), "59.9 s");
        assert_eq!(duration(60_000), "1 min 00 s");
        assert_eq!(duration(3_723_000), "1 h 02 min");
        assert_eq!(
            [grouped(0), grouped(999), grouped(1_234_567)],
            ["0", "999", "1,234,567"]
        );
    }
}
