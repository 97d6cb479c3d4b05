//! A finding in a source, shown with its line and a mark below the spot.
//!
//! ```text
//! error[unknown_need]: the step "b" needs "c", which there is not
//!   --> pack.yaml:12:10
//!    |
//! 12 |     needs: [c]
//!    |             ^
//! ```

use super::style::{Look, paint, shown};
use crate::limits;

/// What is wrong, and where. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<'a> {
    /// Stable code.
    pub code: &'a str,
    /// For people.
    pub message: &'a str,
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// Draws one finding in `source`, whose file is called `file`.
pub fn draw(finding: &Finding<'_>, file: &str, source: &str) -> String {
    let Finding {
        code,
        message,
        line,
        column,
    } = *finding;
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let (text, mark) = around(
        source.lines().nth(line.saturating_sub(1) as usize).unwrap_or(""),
        column,
    );
    let bar = paint(Look::Cyan, "|");
    format!(
        "{error}{colon} {message}\n{margin}{arrow} {file}:{line}:{column}\n{margin} {bar}\n{number} {bar} {text}\n{margin} {bar} {space}{caret}",
        error = paint(Look::Red, format_args!("error[{code}]")),
        colon = paint(Look::Bold, ":"),
        message = paint(Look::Bold, shown(message)),
        arrow = paint(Look::Cyan, "-->"),
        number = paint(Look::Cyan, &number),
        space = " ".repeat(mark),
        caret = paint(Look::Red, "^"),
    )
}

/// The part of a line around a column, and how far the mark stands from its beginning.
fn around(line: &str, column: u32) -> (String, usize) {
    let at = (column.saturating_sub(1) as usize).min(line.chars().count());
    let skipped = at.saturating_sub(limits::SHOWN_CHARACTERS_MAX * 3 / 4);
    let part: String = line
        .chars()
        .skip(skipped)
        .take(limits::SHOWN_CHARACTERS_MAX)
        .collect();
    // A tab would move the mark; one space keeps the columns.
    let (text, dots) = (
        shown(&part).replace('\t', " "),
        if skipped > 0 { "…" } else { "" },
    );
    let before: String = part.chars().take(at - skipped).collect();
    (format!("{dots}{text}"), width(&before) + dots.chars().count())
}

/// Columns of a terminal that a text takes, near enough: wide characters of East Asia take two.
fn width(text: &str) -> usize {
    let is_wide = |letter: char| {
        matches!(u32::from(letter), 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff
            | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd)
    };
    text.chars()
        .map(|letter| if is_wide(letter) { 2 } else { 1 })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(line: u32, column: u32, source: &str) -> String {
        let finding = Finding {
            code: "cycle",
            message: "they wait for each other",
            line,
            column,
        };
        anstream::adapter::strip_str(&draw(&finding, "p.yaml", source)).to_string()
    }

    #[test]
    fn the_mark_stands_below_the_spot() {
        let drawn = plain(12, 5, &format!("{}    b: [c]\n", "x\n".repeat(11)));
        let expected =
            "error[cycle]: they wait for each other\n  --> p.yaml:12:5\n   |\n12 |     b: [c]\n   |     ^";
        assert_eq!(drawn, expected);
        assert!(
            plain(1, 3, "日本x").ends_with("| 日本x\n  |     ^"),
            "{}",
            plain(1, 3, "日本x")
        );
        assert!(plain(1, 2, "\tx").ends_with("|  x\n  |  ^"));
    }

    #[test]
    fn a_spot_beyond_the_source_and_a_long_line_are_drawn_all_the_same() {
        assert!(
            plain(9, 4, "one line").ends_with("|\u{20}\n  | ^"),
            "{:?}",
            plain(9, 4, "one line")
        );
        let drawn = plain(1, 1_000, &format!("{}y", "x".repeat(999)));
        let lines: Vec<&str> = drawn.lines().collect();
        let mark = lines[4].chars().position(|letter| letter == '^').unwrap();
        assert_eq!(lines[3].chars().nth(mark), Some('y'));
    }
}
