//! A forgery: one byte of one event inside a bundle is changed, and the bundle packed again as if nothing had happened.

use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::bundle::transport::{FrameReader, FrameWriter};

/// Sizes of a ustar archive: a header, and what contents are filled up to.
const BLOCK_BYTES: usize = 512;

/// What was changed.
#[derive(Debug)]
pub struct Forgery {
    /// The event.
    pub seq: u64,
    /// Its type.
    pub type_name: String,
    /// When it happened.
    pub before: String,
    /// When it is now said to have happened.
    pub after: String,
}

/// Copies the bundle `from` to `to` with one byte changed: an event is said to have happened a millisecond beside its time.
///
/// # Errors
/// The bundle cannot be read, or holds no event.
pub fn one_byte(from: &Path, to: &Path) -> Result<Forgery> {
    let mut archive = Vec::new();
    FrameReader::new(File::open(from)?)?.read_to_end(&mut archive)?;
    let history = member(&archive, "audit/history.jsonl").context("the bundle has no history")?;
    let forgery = change(&mut archive[history])?;
    let mut frame = FrameWriter::new(File::create(to)?)?;
    frame.write_all(&archive)?;
    frame.finish()?.sync_all()?;
    Ok(forgery)
}

/// Where the content of a member lies in an archive.
fn member(archive: &[u8], wanted: &str) -> Option<Range<usize>> {
    let mut at = 0;
    loop {
        let header = archive.get(at..at + BLOCK_BYTES)?;
        let name: Vec<u8> = header[..100]
            .iter()
            .copied()
            .take_while(|byte| *byte != 0)
            .collect();
        if name.is_empty() {
            return None;
        }
        let size = std::str::from_utf8(header.get(124..135)?).ok()?;
        let size = usize::from_str_radix(size.trim_matches('\0'), 8).ok()?;
        let begin = at + BLOCK_BYTES;
        if name == wanted.as_bytes() {
            return archive.get(begin..begin + size).map(|_| begin..begin + size);
        }
        at = begin + size.next_multiple_of(BLOCK_BYTES);
    }
}

#[derive(Deserialize)]
struct Event {
    at: String,
    seq: u64,
    #[serde(rename = "type")]
    type_name: String,
}

/// Changes the last digit of the time of an event in the middle: a step that completed, when there is one.
fn change(history: &mut [u8]) -> Result<Forgery> {
    let lines: Vec<Range<usize>> = history
        .split_inclusive(|byte| *byte == b'\n')
        .scan(0, |at, line| {
            let begin = *at;
            *at += line.len();
            Some(begin..*at)
        })
        .collect();
    let middle = lines.len() / 2;
    let completed = |line: &&Range<usize>| contains(&history[(*line).clone()], b"\"type\":\"job.completed\"");
    let chosen = lines[middle..].iter().find(completed).or(lines.get(middle));
    let chosen = chosen.context("the history is empty")?.clone();
    let line = &mut history[chosen];
    let before: Event = serde_json::from_slice(line)?;
    let quoted = format!("\"at\":\"{}\"", before.at);
    let at = line
        .windows(quoted.len())
        .position(|part| part == quoted.as_bytes());
    // `…123Z"`: the digit before the zone.
    let digit = at.context("an event without a time")? + quoted.len() - 3;
    line[digit] ^= 1;
    let after: Event = serde_json::from_slice(line)?;
    Ok(Forgery {
        seq: before.seq,
        type_name: before.type_name,
        before: before.at,
        after: after.at,
    })
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_digit_of_one_event_in_the_middle_changes() {
        let event = |seq: u64, kind: &str| {
            format!("{{\"at\":\"2026-01-31T12:00:00.123Z\",\"seq\":{seq},\"type\":\"{kind}\"}}\n")
        };
        let text = [
            event(0, "a"),
            event(1, "b"),
            event(2, "c"),
            event(3, "job.completed"),
        ]
        .concat();
        let mut history = text.clone().into_bytes();
        let forgery = change(&mut history).unwrap();
        assert_eq!(
            (forgery.seq, forgery.after.as_str()),
            (3, "2026-01-31T12:00:00.122Z")
        );
        let differs: Vec<usize> = (0..text.len())
            .filter(|at| history[*at] != text.as_bytes()[*at])
            .collect();
        assert_eq!(differs.len(), 1);
    }
}
