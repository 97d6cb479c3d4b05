//! What goes where: data to standard output in the form that was asked for, messages to standard error.
//!
//! Colour codes are taken out unless the stream is a terminal and `NO_COLOR` is unset. A reader that goes away is an
//! error of kind `BrokenPipe`, which ends the program quietly.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::style::shown;

/// The form of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
}

impl Format {
    /// For programs.
    pub fn is_json(self) -> bool {
        matches!(self, Format::Json | Format::Jsonl)
    }
}

/// A line of data.
///
/// # Errors
/// What standard output said.
pub fn line(text: impl std::fmt::Display) -> Result<()> {
    writeln!(anstream::stdout(), "{text}")?;
    Ok(())
}

/// Data as it is.
///
/// # Errors
/// What standard output said.
pub fn bytes(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// A line of exact bytes.
///
/// # Errors
/// What standard output said.
pub fn raw_line(text: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// A JSON document: on lines of its own for a terminal, on one line for a program.
///
/// # Errors
/// What standard output said.
pub fn json(value: &impl Serialize) -> Result<()> {
    let text = if io::stdout().is_terminal() {
        serde_json::to_vec_pretty(value)?
    } else {
        serde_json::to_vec(value)?
    };
    raw_line(&text)
}

/// A message. Nobody hears what cannot be said.
pub fn say(text: impl std::fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Rows below headings, in columns.
///
/// # Errors
/// What standard output said.
pub fn rows(headings: &[&str], rows: Vec<Vec<String>>) -> Result<()> {
    if rows.is_empty() {
        say("nothing there");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| shown(cell).into_owned()));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for text in table.lines() {
        line(text.trim_end())?;
    }
    Ok(())
}

/// Names and values of one thing, one a line.
///
/// # Errors
/// What standard output said.
pub fn facts(facts: &[(&str, String)]) -> Result<()> {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in facts {
        line(format_args!("{name:width$}  {}", shown(value)))?;
    }
    Ok(())
}
