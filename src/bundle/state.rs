//! The state files of a bundle: canonical lines in order, and equal to what a replay gives.

use super::history::{SortKey, check_canonical};
use super::members::{Member, StateFile};
use super::pass::Stop;
use super::reading::{Content, Line};
use super::report::{CheckName, Checklist, Finding, Verdict};
use super::verify::Replay;
use crate::limits;

/// Reads a state file line by line and checks form and order on the way.
#[derive(Debug)]
pub(super) struct StateLines<'a, 'b> {
    content: &'a mut Content<'b>,
    member: Member,
    checks: &'a mut Checklist,
    line: Vec<u8>,
    number: u64,
    previous: Option<SortKey>,
    broken: bool,
}

impl<'a, 'b> StateLines<'a, 'b> {
    pub(super) fn new(content: &'a mut Content<'b>, member: Member, checks: &'a mut Checklist) -> Self {
        StateLines {
            content,
            member,
            checks,
            line: Vec::new(),
            number: 0,
            previous: None,
            broken: false,
        }
    }

    /// The next line; `None` at the end, and behind a line that is none.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Stop> {
        if self.broken {
            return Ok(None);
        }
        let read = self.content.line(&mut self.line, limits::BUNDLE_LINE_BYTES_MAX)?;
        let why = match read {
            Line::End => return Ok(None),
            Line::Whole => {
                self.number += 1;
                if let Err(finding) = self.check() {
                    self.checks
                        .fail(CheckName::Lines, finding.of(self.member).at_line(self.number));
                }
                return Ok(Some(&self.line));
            }
            Line::Unended => "no LF at its end",
            Line::TooLong => "longer than a record may be",
        };
        self.number += 1;
        self.broken = true;
        let finding = Finding::new(Verdict::Malformed, why).of(self.member);
        self.checks.fail(CheckName::Lines, finding.at_line(self.number));
        Ok(None)
    }

    /// Holds the number of lines against the manifest.
    pub(super) fn end(self, lines: Option<u64>) {
        if lines != Some(self.number) {
            let finding = Finding::new(Verdict::Malformed, "the manifest counts other lines");
            self.checks.fail(CheckName::Lines, finding.of(self.member));
        }
    }

    fn check(&mut self) -> Result<(), Finding> {
        check_canonical(&self.line)?;
        let malformed = |detail| Finding::new(Verdict::Malformed, detail);
        let key = SortKey::of(&self.line).ok_or_else(|| malformed("neither id nor name and version"))?;
        if self.previous.as_ref().is_some_and(|previous| *previous >= key) {
            return Err(malformed("out of order or there twice"));
        }
        self.previous = Some(key);
        Ok(())
    }
}

/// Walks a state file beside what the replay gives; the first difference is the finding.
pub(super) fn compare_with_replay(
    lines: &mut StateLines<'_, '_>,
    replay: &mut dyn Replay,
    file: StateFile,
) -> Result<(), Stop> {
    let (mut stop, mut differs) = (None, None);
    let result = replay.finish(file, &mut |right| {
        match lines.next() {
            Ok(Some(found)) if found == right => return Ok(()),
            Ok(Some(_)) => differs = Some("another record than the replay gives"),
            Ok(None) => differs = Some("a record that the replay gives is missing"),
            Err(error) => stop = Some(error),
        }
        Err("no further".to_owned())
    });
    if let Some(stop) = stop {
        return Err(stop);
    }
    let detail = match (differs, result) {
        (Some(detail), _) => detail.to_owned(),
        (None, Err(why)) => why,
        (None, Ok(())) => match lines.next()? {
            Some(_) => "a record that the replay does not give".to_owned(),
            None => return Ok(()),
        },
    };
    let finding = Finding::new(Verdict::Tampered, detail)
        .of(lines.member)
        .at_line(lines.number);
    lines.checks.fail(CheckName::Replay, finding);
    Ok(())
}
