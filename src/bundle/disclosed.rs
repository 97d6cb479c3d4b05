//! Check 7: whether disclosures belong to the history beside which they are shown; in a bundle, or in a file that came later.
//!
//! A file that came later is held against the lines of the bundle too: no field gets a second value, wherever it is given.

use std::fmt;
use std::io::{self, BufRead, Read};

use super::beside::{Broken, LINE_BYTES_MAX, Source, walk};
use super::locate::seek;
use super::members::Member;
use super::pass::Pass;
use super::reading::{Archive, Line, Opener, container_fault};
use super::redacted::Redacted;
use super::report::{CheckName, Finding, Report, Verdict};
use super::tar::TarError;
use super::verify::VerifyError;
use crate::domain::event::Event;

/// A file of disclosures that came after the bundle.
pub struct Later<'a> {
    /// What findings call it.
    pub name: String,
    /// Its lines; anything.
    pub content: &'a mut dyn Read,
}

impl fmt::Debug for Later<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
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
                Ok(count) => shown = count,
                Err(Broken::Line(finding)) => {
                    self.checks.fail(CheckName::Disclosures, *finding);
                    return Ok(());
                }
                Err(Broken::Archive(TarError::Read(error))) => return Err(VerifyError::Read(error)),
                // Found by the first pass.
                Err(Broken::Archive(_)) => return Ok(()),
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

/// How many lines a bundle has, all of which belong to it.
fn in_bundle(open: Opener<'_>, first: u64) -> Result<u64, Broken> {
    let mut archive = Archive::open(open).map_err(TarError::Read)?;
    if !seek(&mut archive, Member::Disclosures)? {
        return Ok(0);
    }
    let mut content = archive.content();
    let mut next = |line: &mut Vec<u8>| content.line(line, LINE_BYTES_MAX);
    let mut sources = [Source::of_bundle(&mut next)];
    walk(open, first, &mut sources)?;
    Ok(sources.iter().map(Source::count).sum())
}

/// Holds files of disclosures that came later against a bundle that was verified, against what the bundle shows itself and
/// against each other, and adds what is found to its report. Gives how many disclosures they have.
///
/// Reads them side by side: each is sorted by event and digest, as in a bundle.
///
/// # Errors
/// Only when the bundle or one of the files cannot be read.
pub fn verify_later(
    open: Opener<'_>,
    first: u64,
    files: Vec<Later<'_>>,
    report: &mut Report,
) -> Result<u64, VerifyError> {
    match beside_bundle(open, first, files) {
        Ok(count) => return Ok(count),
        Err(Broken::Line(finding)) => report.add(CheckName::Disclosures, *finding),
        Err(Broken::Archive(error)) => {
            let why = container_fault(error).map_err(VerifyError::Read)?;
            report.add(CheckName::Disclosures, Finding::new(Verdict::Malformed, why));
        }
    }
    Ok(0)
}

fn beside_bundle(open: Opener<'_>, first: u64, files: Vec<Later<'_>>) -> Result<u64, Broken> {
    let mut archive = Archive::open(open).map_err(TarError::Read)?;
    let is_there = seek(&mut archive, Member::Disclosures)?;
    let mut content = archive.content();
    let mut own = |line: &mut Vec<u8>| match is_there {
        true => content.line(line, LINE_BYTES_MAX),
        false => Ok(Line::End),
    };
    let mut readers: Vec<_> = files
        .into_iter()
        .map(|file| {
            let mut lines = io::BufReader::new(file.content);
            let next = move |line: &mut Vec<u8>| next_line(&mut lines, line).map_err(TarError::Read);
            (file.name, next)
        })
        .collect();
    let mut sources = vec![Source::of_bundle(&mut own)];
    sources.extend(
        readers
            .iter_mut()
            .map(|(name, next)| Source::later(name.clone(), next)),
    );
    walk(open, first, &mut sources)?;
    Ok(sources.iter().skip(1).map(Source::count).sum())
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
