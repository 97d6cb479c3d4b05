//! Lines of disclosures beside the history to which they belong, both in the order of events.
//!
//! Lines come from one place or several: the bundle itself, and files that came later. All are walked as one, so that no
//! field has one value here and another there. Holds one event, and one line of each source.

use super::locate::seek;
use super::members::Member;
use super::reading::{Archive, Content, Line, Opener};
use super::redacted::{LineAt, NotShown, Redacted};
use super::report::{Finding, Verdict};
use super::tar::TarError;
use crate::domain::canonical::{self, Value};
use crate::domain::redaction::{Disclosure, write_digest};
use crate::limits;

/// A line holds a disclosure, and little else.
pub(super) const LINE_BYTES_MAX: usize = limits::DISCLOSURE_BYTES_MAX + 64;

/// Puts the next line, without its LF, into the buffer.
pub(super) type NextLine<'a> = &'a mut dyn FnMut(&mut Vec<u8>) -> Result<Line, TarError>;

/// Where lines come from.
pub(super) struct Source<'a> {
    /// What findings call it.
    name: String,
    next: NextLine<'a>,
    /// What it is to give a field twice: signed lines were tampered with, a file that nobody signed has not the form of one.
    twice: Verdict,
    line: Vec<u8>,
    /// Lines read.
    count: u64,
    /// The line that is judged next; none at the end.
    head: Option<Head>,
    last: Option<Place>,
}

/// By what lines are sorted: the event, and the text of the digest.
type Place = (u64, String);

struct Head {
    place: Place,
    /// Of the field. Its value is let go: many sources may each hold a large one.
    name: String,
}

/// Why the walk ended before its end.
pub(super) enum Broken {
    /// A line is wrong; the finding names it.
    Line(Box<Finding>),
    /// The archive or a file cannot be read.
    Archive(TarError),
}

impl From<TarError> for Broken {
    fn from(error: TarError) -> Self {
        Broken::Archive(error)
    }
}

impl<'a> Source<'a> {
    /// The lines that a bundle brings itself.
    pub(super) fn of_bundle(next: NextLine<'a>) -> Self {
        Source::new(Member::Disclosures.to_string(), next, Verdict::Tampered)
    }

    /// A file that came later.
    pub(super) fn later(name: String, next: NextLine<'a>) -> Self {
        Source::new(name, next, Verdict::Malformed)
    }

    fn new(name: String, next: NextLine<'a>, twice: Verdict) -> Self {
        Source {
            name,
            next,
            twice,
            line: Vec::new(),
            count: 0,
            head: None,
            last: None,
        }
    }

    /// How many lines were read.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Reads the next line and judges what it shows by itself.
    fn advance(&mut self) -> Result<(), Broken> {
        let read = (self.next)(&mut self.line)?;
        if read == Line::End {
            self.head = None;
            return Ok(());
        }
        self.count += 1;
        let head = match read {
            Line::Whole => read_head(&self.line, self.last.as_ref()),
            Line::Unended => Err(malformed("no LF at its end")),
            Line::TooLong | Line::End => Err(malformed("longer than a disclosure may be")),
        };
        let head = head.map_err(|finding| self.broken(self.count, finding))?;
        self.last = Some(head.place.clone());
        self.head = Some(head);
        Ok(())
    }

    fn broken(&self, line: u64, finding: Finding) -> Broken {
        Broken::Line(Box::new(finding.named(&self.name).at_line(line)))
    }
}

/// Walks the lines of all sources beside the history of a bundle. Of two lines of which only one may be, the one of the later
/// source is named, or the later one.
pub(super) fn walk(open: Opener<'_>, first: u64, sources: &mut [Source<'_>]) -> Result<(), Broken> {
    let mut archive = Archive::open(open).map_err(TarError::Read)?;
    if !seek(&mut archive, Member::History)? {
        return Ok(());
    }
    let mut history = History {
        content: archive.content(),
        line: Vec::new(),
        next: first,
        at: None,
    };
    for source in &mut *sources {
        source.advance()?;
    }
    let mut last: Option<(Place, LineAt)> = None;
    while let Some((source, head)) = least(sources) {
        let at = LineAt {
            source,
            line: sources[source].count,
        };
        if let Some((place, before)) = &last
            && *place == head.place
        {
            return Err(clash(
                sources,
                (*before, at),
                head.place.0,
                "it is there twice, first in",
            ));
        }
        let seq = head.place.0;
        let tampered = |why| {
            let finding = Finding::new(Verdict::Tampered, why).at_seq(seq);
            sources[source].broken(at.line, finding)
        };
        if !history.forward(seq)? {
            return Err(tampered("no event of the range has this number"));
        }
        let event = history.at.as_mut();
        let event = event.ok_or_else(|| tampered("the event has no redacted fields"))?;
        match event.show(&head.place.1, &head.name, at) {
            Ok(()) => {}
            Err(NotShown::NoDigest) => return Err(tampered("no digest of the event belongs to it")),
            Err(NotShown::InEvent) => {
                let finding = Finding::new(sources[source].twice, "its field is there already");
                return Err(sources[source].broken(at.line, finding.at_seq(seq)));
            }
            Err(NotShown::Before(before)) => {
                return Err(clash(
                    sources,
                    (before, at),
                    seq,
                    "its field is there already, in",
                ));
            }
        }
        last = Some((head.place, at));
        sources[source].advance()?;
    }
    Ok(())
}

/// Takes the line that comes next in the order of events and digests; of equal ones that of the first source.
fn least(sources: &mut [Source<'_>]) -> Option<(usize, Head)> {
    let heads = sources.iter().enumerate();
    let (_, least) = heads
        .filter_map(|(number, source)| Some((&source.head.as_ref()?.place, number)))
        .min()?;
    sources[least].head.take().map(|head| (least, head))
}

/// Two lines of which only one may be: names the later one, and where the other is when that is elsewhere.
fn clash(sources: &[Source<'_>], pair: (LineAt, LineAt), seq: u64, what: &str) -> Broken {
    let (kept, blamed) = (pair.0.min(pair.1), pair.0.max(pair.1));
    let (of_kept, source) = (&sources[kept.source], &sources[blamed.source]);
    let detail = match kept.source == blamed.source {
        true => format!("{what} line {}", kept.line),
        false => format!("{what} {} line {}", of_kept.name, kept.line),
    };
    source.broken(blamed.line, Finding::new(source.twice, detail).at_seq(seq))
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

/// What a line shows by itself and beside the one before.
fn read_head(line: &[u8], last: Option<&Place>) -> Result<Head, Finding> {
    let (seq, disclosure) = read_line(line)?;
    let parsed = Disclosure::parse(&disclosure);
    let (disclosure, opened) = parsed.map_err(|error| malformed(&error.to_string()).at_seq(seq))?;
    let place = (seq, write_digest(&disclosure.digest()));
    if last.is_some_and(|last| *last > place) {
        return Err(malformed("out of the order of events and digests").at_seq(seq));
    }
    let name = opened.name;
    Ok(Head { place, name })
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
