//! Check 7: whether disclosures belong to the history beside which they are shown; in a bundle, or in a file that came later.
//!
//! Reads history and disclosures side by side, both in the order of events. Holds one event and one line.

use std::io::{self, BufRead, Read};

use super::locate::seek;
use super::members::Member;
use super::pass::Pass;
use super::reading::{Archive, Content, Line, Opener};
use super::redacted::Redacted;
use super::report::{CheckName, Finding, Report, Verdict};
use super::tar::TarError;
use super::verify::VerifyError;
use crate::domain::canonical::{self, Value};
use crate::domain::event::Event;
use crate::domain::redaction::{Disclosure, write_digest};
use crate::limits;

/// A line holds a disclosure, and little else.
const LINE_BYTES_MAX: usize = limits::DISCLOSURE_BYTES_MAX + 64;

/// Puts the next line, without its LF, into the buffer.
type NextLine<'a> = &'a mut dyn FnMut(&mut Vec<u8>) -> Result<Line, TarError>;

/// What disclosures showed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    /// Lines.
    shown: u64,
    /// Digests in the history.
    digests: u64,
}

impl Pass<'_> {
    /// Counts the digests of an event.
    pub(super) fn count_digests(&mut self, event: &Event, line: u64) {
        match Redacted::of(event) {
            Ok(redacted) => self.digests += redacted.map_or(0, |redacted| redacted.count()),
            Err(why) => {
                let finding = Finding::new(Verdict::Malformed, why.to_string()).of(Member::History);
                self.checks
                    .fail(CheckName::Disclosures, finding.at_line(line).at_seq(event.seq.0));
            }
        }
    }

    /// Holds the disclosures of the bundle against its history.
    pub(super) fn disclosures(&mut self, open: Opener<'_>) -> Result<(), VerifyError> {
        let Some(statement) = self.statement.clone() else {
            return Ok(());
        };
        let of = statement
            .members()
            .find(|(member, _, _)| *member == Member::Disclosures);
        let Some((_, _, file)) = of else { return Ok(()) };
        let (first, withheld) = (statement.predicate.first, statement.predicate.redaction.withheld);
        let mut shown = 0;
        if file.size > 0 {
            match in_bundle(open, first) {
                Ok(Ok(count)) => shown = count.shown,
                Ok(Err(finding)) => {
                    self.checks
                        .fail(CheckName::Disclosures, finding.of(Member::Disclosures));
                    return Ok(());
                }
                Err(TarError::Read(error)) => return Err(VerifyError::Read(error)),
                // Found by the first pass.
                Err(_) => return Ok(()),
            }
        }
        if file.lines != Some(shown) {
            let finding = Finding::new(Verdict::Malformed, "the manifest counts other lines");
            self.checks
                .fail(CheckName::Disclosures, finding.of(Member::Disclosures));
        }
        if self.digests.checked_sub(shown) != Some(withheld) {
            let detail = format!(
                "the history has {} digests and {shown} are shown: the manifest says that {withheld} are withheld",
                self.digests
            );
            let finding = Finding::new(Verdict::Tampered, detail);
            self.checks
                .fail(CheckName::Disclosures, finding.of(Member::Disclosures));
        }
        self.shown = shown;
        Ok(())
    }
}

fn in_bundle(open: Opener<'_>, first: u64) -> Result<Result<Count, Finding>, TarError> {
    let mut archive = Archive::open(open).map_err(TarError::Read)?;
    if !seek(&mut archive, Member::Disclosures)? {
        return Ok(Ok(Count::default()));
    }
    let mut content = archive.content();
    beside(open, first, &mut |line| content.line(line, LINE_BYTES_MAX))
}

/// Walks lines of disclosures beside the history of a bundle.
fn beside(open: Opener<'_>, first: u64, next: NextLine<'_>) -> Result<Result<Count, Finding>, TarError> {
    let mut archive = Archive::open(open).map_err(TarError::Read)?;
    if !seek(&mut archive, Member::History)? {
        return Ok(Ok(Count::default()));
    }
    let mut history = History {
        content: archive.content(),
        line: Vec::new(),
        next: first,
        at: None,
    };
    let (mut count, mut line, mut last) = (Count::default(), Vec::new(), None);
    loop {
        let read = next(&mut line)?;
        if read == Line::End {
            return Ok(Ok(count));
        }
        count.shown += 1;
        let found = match read {
            Line::Whole => history.take(&line, &mut last)?,
            Line::Unended => Err(malformed("no LF at its end")),
            Line::TooLong | Line::End => Err(malformed("longer than a disclosure may be")),
        };
        if let Err(finding) = found {
            return Ok(Err(finding.at_line(count.shown)));
        }
    }
}

/// The history, as far as it was read.
struct History<'a> {
    content: Content<'a>,
    line: Vec<u8>,
    /// The event that is read next.
    next: u64,
    at: Option<Redacted>,
}

impl History<'_> {
    /// Judges one line of disclosures.
    fn take(
        &mut self,
        line: &[u8],
        last: &mut Option<(u64, String)>,
    ) -> Result<Result<(), Finding>, TarError> {
        let (seq, disclosure) = match read_line(line) {
            Ok(read) => read,
            Err(finding) => return Ok(Err(finding)),
        };
        let (disclosure, opened) = match Disclosure::parse(&disclosure) {
            Ok(parsed) => parsed,
            Err(error) => return Ok(Err(malformed(&error.to_string()).at_seq(seq))),
        };
        let digest = write_digest(&disclosure.digest());
        let place = (seq, digest);
        match last.as_ref().map(|last| last.cmp(&place)) {
            Some(std::cmp::Ordering::Equal) => return Ok(Err(tampered("it is there twice").at_seq(seq))),
            Some(std::cmp::Ordering::Greater) => {
                return Ok(Err(
                    malformed("out of the order of events and digests").at_seq(seq)
                ));
            }
            Some(std::cmp::Ordering::Less) | None => {}
        }
        if !self.forward(seq)? {
            return Ok(Err(tampered("no event of the range has this number").at_seq(seq)));
        }
        let shown = match &mut self.at {
            None => Err("the event has no redacted fields"),
            Some(redacted) => redacted.show(&place.1, &opened),
        };
        *last = Some(place);
        Ok(shown.map_err(|why| tampered(why).at_seq(seq)))
    }

    /// Reads on until `seq` was read. False when it is not there.
    fn forward(&mut self, seq: u64) -> Result<bool, TarError> {
        while self.next <= seq {
            if self.content.line(&mut self.line, limits::EVENT_BYTES_MAX)? != Line::Whole {
                return Ok(false);
            }
            self.at = match self.next == seq {
                // What is wrong with its digests was found when they were counted.
                true => Redacted::read(&self.line).unwrap_or_default(),
                false => None,
            };
            self.next += 1;
        }
        // Lines come in order: either it is the one read last, or it lies before the range.
        Ok(self.next == seq + 1)
    }
}

/// `{"d":"<disclosure>","seq":n}`, canonical.
fn read_line(line: &[u8]) -> Result<(u64, String), Finding> {
    let form = || malformed("not {\"d\":\"<disclosure>\",\"seq\":<event>} in canonical JSON");
    let Ok(Value::Object(mut members)) = canonical::check(line) else {
        return Err(form());
    };
    match (members.remove("d"), members.remove("seq")) {
        (Some(Value::String(disclosure)), Some(Value::Int(seq))) if members.is_empty() => {
            let seq = u64::try_from(seq).map_err(|_| form())?;
            Ok((seq, disclosure))
        }
        _ => Err(form()),
    }
}

fn malformed(detail: &str) -> Finding {
    Finding::new(Verdict::Malformed, detail)
}

fn tampered(detail: &str) -> Finding {
    Finding::new(Verdict::Tampered, detail)
}

/// Holds a file of disclosures that came later against a bundle that was verified, and adds what is found to its report.
/// Gives how many there are.
///
/// # Errors
/// Only when one of the two cannot be read.
pub fn verify_later(
    open: Opener<'_>,
    first: u64,
    file: &mut dyn Read,
    name: &str,
    report: &mut Report,
) -> Result<u64, VerifyError> {
    let mut lines = io::BufReader::new(file);
    let mut next = |line: &mut Vec<u8>| next_line(&mut lines, line).map_err(TarError::Read);
    match beside(open, first, &mut next) {
        Ok(Ok(count)) => Ok(count.shown),
        Ok(Err(finding)) => {
            report.add(CheckName::Disclosures, finding.named(name));
            Ok(0)
        }
        Err(TarError::Read(error)) => Err(VerifyError::Read(error)),
        Err(error) => {
            report.add(CheckName::Disclosures, malformed(&error.to_string()).named(name));
            Ok(0)
        }
    }
}

fn next_line(lines: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let read = lines.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line)?;
    Ok(match line.last() {
        None => Line::End,
        Some(b'\n') => {
            line.pop();
            Line::Whole
        }
        Some(_) if read > LINE_BYTES_MAX => Line::TooLong,
        Some(_) => Line::Unended,
    })
}
