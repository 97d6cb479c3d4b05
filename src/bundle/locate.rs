//! Naming the event: where history and `audit/leaves` part.
//!
//! A root tells that history was changed, not where. `audit/leaves` holds the first 16 hex digits of every leaf
//! hash and is bound by the signed manifest, so walking both side by side names the first event that differs.

use super::history::{LEAF_DIGITS, leaf_line};
use super::members::Member;
use super::reading::{Archive, Content, Line, Opener};
use super::tar::TarError;
use crate::domain::leaf_hash;
use crate::limits;

/// The line, from 1, at which history differs from the leaves; `None` when it cannot be told.
/// Opens the bundle twice and walks both members once.
pub(super) fn first_changed_line(open: Opener<'_>) -> Option<u64> {
    walk(open).ok().flatten()
}

fn walk(open: Opener<'_>) -> Result<Option<u64>, TarError> {
    let mut of_leaves = Archive::open(open).map_err(TarError::Read)?;
    let mut of_history = Archive::open(open).map_err(TarError::Read)?;
    if !seek(&mut of_leaves, Member::Leaves)? || !seek(&mut of_history, Member::History)? {
        return Ok(None);
    }
    compare(of_leaves.content(), of_history.content())
}

pub(super) fn seek(archive: &mut Archive, member: Member) -> Result<bool, TarError> {
    let name = member.to_string();
    while let Some(entry) = archive.next_entry()? {
        if entry.name == name {
            return Ok(true);
        }
    }
    Ok(false)
}

fn compare(mut leaves: Content<'_>, mut history: Content<'_>) -> Result<Option<u64>, TarError> {
    let (mut leaf, mut event) = (Vec::new(), Vec::new());
    let mut line = 0;
    loop {
        line += 1;
        let leaf_end = leaves.line(&mut leaf, limits::BUNDLE_LINE_BYTES_MAX)?;
        let event_end = history.line(&mut event, limits::EVENT_BYTES_MAX)?;
        if (leaf_end, event_end) == (Line::End, Line::End) {
            return Ok(None);
        }
        let same = leaf_line(&leaf_hash(&event))[..LEAF_DIGITS] == leaf;
        if (leaf_end, event_end) != (Line::Whole, Line::Whole) || !same {
            return Ok(Some(line));
        }
    }
}
