//! The state files of a bundle: canonical lines in order, and equal to what a replay gives.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::history::check_canonical;
use super::members::{Member, StateFile};
use super::pass::Stop;
use super::reading::{Content, Line};
use super::report::{CheckName, Checklist, Finding, Verdict};
use super::verify::{Replay, VerifyError};
use crate::domain::OrderId;
use crate::limits;

/// Reads a state file line by line and checks form and order on the way.
#[derive(Debug)]
pub(super) struct StateLines<'a, 'b> {
    content: &'a mut Content<'b>,
    member: Member,
    checks: &'a mut Checklist,
    line: Vec<u8>,
    number: u64,
    /// The last line that was in order; empty before the first.
    previous: Vec<u8>,
    /// Its key, where it was read.
    previous_key: Option<SortKey>,
    in_order: bool,
    /// Work orders that records name, up to one more than a bundle may.
    orders: BTreeSet<OrderId>,
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
            previous: Vec::new(),
            previous_key: None,
            in_order: false,
            orders: BTreeSet::new(),
            broken: false,
        }
    }

    /// The next line; `None` at the end, and behind a line that is none.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Stop> {
        self.next_beside(None)
    }

    /// The same beside what a replay gives, which is canonical and in its order: a line that is equal to it is not looked at
    /// again, unless it may name a work order.
    fn next_beside(&mut self, right: Option<&[u8]>) -> Result<Option<&[u8]>, Stop> {
        if self.broken {
            return Ok(None);
        }
        if std::mem::take(&mut self.in_order) {
            std::mem::swap(&mut self.line, &mut self.previous);
        }
        let read = self.content.line(&mut self.line, limits::BUNDLE_LINE_BYTES_MAX)?;
        let why = match read {
            Line::End => return Ok(None),
            Line::Whole => {
                self.number += 1;
                let is_known = right == Some(&self.line) && self.member != Member::Runs;
                let checked = if is_known {
                    self.previous_key = None;
                    Ok(())
                } else {
                    self.check()
                };
                self.in_order = checked.is_ok();
                if let Err(finding) = checked {
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

    /// Holds the work orders of the records against the manifest.
    pub(super) fn check_orders(&mut self, named: &BTreeSet<OrderId>) {
        if !self.broken && self.orders != *named {
            let detail = "its runs are of other work orders than the manifest names";
            let finding = Finding::new(Verdict::Tampered, detail);
            self.checks.fail(CheckName::Lines, finding.of(self.member));
        }
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
        let place = || malformed("neither id nor name and version");
        let head = Head::of(&self.line).ok_or_else(place)?;
        let key = head.key().ok_or_else(place)?;
        if self.previous_key.is_none() {
            self.previous_key = Head::of(&self.previous).and_then(|head| head.key());
        }
        if self
            .previous_key
            .as_ref()
            .is_some_and(|previous| *previous >= key)
        {
            return Err(malformed("out of order or there twice"));
        }
        if let Some(order) = head.order_id
            && self.orders.len() <= limits::BUNDLE_ORDERS_MAX
        {
            let order = order.parse().map_err(|_| malformed("orderId is no id"))?;
            self.orders.insert(order);
        }
        self.previous_key = Some(key);
        Ok(())
    }
}

/// What of a record, which is canonical JSON, decides its place and whose it is.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    version: Option<i64>,
    #[serde(borrow)]
    order_id: Option<Cow<'a, str>>,
}

/// The key by which the lines of a state file are sorted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum SortKey {
    /// `id`.
    Id(String),
    /// `name`, `version`.
    NameVersion(String, i64),
}

impl<'a> Head<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    fn key(&self) -> Option<SortKey> {
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        match text(&self.id) {
            Some(id) => Some(SortKey::Id(id)),
            None => Some(SortKey::NameVersion(text(&self.name)?, self.version?)),
        }
    }
}

/// Walks a state file beside what the replay gives; the first difference is the finding.
pub(super) fn compare_with_replay(
    lines: &mut StateLines<'_, '_>,
    replay: &mut dyn Replay,
    file: StateFile,
) -> Result<(), Stop> {
    let (mut stop, mut differs) = (None, None);
    let given = replay.finish(file, &mut |right| {
        match lines.next_beside(Some(right)) {
            Ok(Some(found)) if found == right => return ControlFlow::Continue(()),
            Ok(Some(_)) => differs = Some("another record than the replay gives"),
            Ok(None) => differs = Some("a record that the replay gives is missing"),
            Err(error) => stop = Some(error),
        }
        ControlFlow::Break(())
    });
    if let Some(stop) = stop {
        return Err(stop);
    }
    given.map_err(|error| Stop::Local(VerifyError::Replay(error.to_string())))?;
    let detail = match differs {
        Some(detail) => detail,
        None if lines.next()?.is_some() => "a record that the replay does not give",
        None => return Ok(()),
    };
    let finding = Finding::new(Verdict::Tampered, detail)
        .of(lines.member)
        .at_line(lines.number);
    lines.checks.fail(CheckName::Replay, finding);
    Ok(())
}
