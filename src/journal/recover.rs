//! Opening the journal: what is there, what may be cut, what must not be.
//!
//! Only one batch is ever in flight, at the end of the last segment; everything before it was flushed before
//! the next was begun. So a crash can tear the last batch and nothing else, and only when nothing was stored
//! that rests on it. Recovery cuts a tail that is all of this:
//!
//! - beyond the durable projection and the newest stored checkpoint ([`Floor`]),
//! - in the last segment,
//! - without begin or commit of a later batch behind it.
//!
//! Anything else is damage: an error that names file and offset, and nothing is served. Damage to the very
//! last batch, beyond the floor, cannot be told from tearing.
//!
//! The last segment is then written anew, flushed, and put in the place of the old one, before anything is
//! served: after a failed flush the system may show bytes that never reached the disk. Until the new file
//! has the name, the old one is untouched, so a crash in the midst of recovery leaves what it found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::error::{Damage, OpenError, failed};
use super::folder::Folder;
use super::frame::{self, Remains};
use super::header::{HEADER_BYTES, Header, HeaderFault, SECTOR_BYTES, Salt, VERSION};
use super::segment::Segment;
use super::segments::{Options, Recovered, SegmentJournal, begin_segment};
use super::{Position, SegmentId, Term};
use crate::disk::{Access, Disk};

/// What was stored on the strength of the journal: records before these positions must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Floor {
    /// Up to where the projection is durable.
    pub durable_projection: Position,
    /// Up to where the newest stored checkpoint reaches.
    pub checkpointed: Position,
}

impl Floor {
    fn position(self) -> Position {
        self.durable_projection.max(self.checkpointed)
    }
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Position of the oldest record kept.
    pub start: Position,
    /// Position after the newest record; all before it are certain.
    pub end: Position,
    /// The highest term appended under.
    pub term: Term,
    /// The torn batch that was cut, when one could be recognised.
    pub cut: Option<Cut>,
}

/// Where a torn batch was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub file: PathBuf,
    pub offset: u64,
    /// Position of its first record.
    pub position: Position,
}

/// Opens the journal in `dir`, or begins one at position 0 when the folder holds none and `floor` is 0.
/// When it returns, everything it serves is certain.
///
/// # Errors
/// See [`OpenError`]. Damage leaves the folder as it was.
pub fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    floor: Floor,
    options: Options,
) -> Result<(SegmentJournal, Recovery), OpenError> {
    let options = options.whole_sectors();
    let folder = Folder::open(disk, dir)?;
    let listing = folder.list()?;
    let surveys = survey_all(&folder, &listing.segments, Access::Write)?;
    let cut = check_tail(surveys.last(), dir, floor)?;
    for leftover in &listing.leftovers {
        folder.remove(leftover)?;
    }
    let recovered = settle(folder, options, surveys)?;
    let term = recovered.term;
    let start = recovered.closed.first().unwrap_or(&recovered.open).info().first;
    let end = recovered.open.info().end;
    let recovery = Recovery {
        start,
        end,
        term,
        cut,
    };
    Ok((SegmentJournal::new(recovered), recovery))
}

/// A segment as found.
pub(super) struct Survey {
    /// Its whole batches.
    pub(super) segment: Segment,
    pub(super) term: Term,
    /// The whole file; kept for the last segment only.
    bytes: Bytes,
    /// Where the first frame stands that is not right.
    fault_offset: u64,
}

/// Reads and verifies all segments.
pub(super) fn survey_all(
    folder: &Folder,
    ids: &[SegmentId],
    access: Access,
) -> Result<Vec<Survey>, OpenError> {
    let mut surveys: Vec<Survey> = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(before) = surveys.last_mut() {
            let expected = SegmentId(before.segment.header.id.0.saturating_add(1));
            if *id != expected {
                return Err(OpenError::Missing {
                    file: folder.segment_path(expected),
                });
            }
            before.bytes = Bytes::new();
        }
        let survey = survey(folder, *id, access)?;
        if let Some(before) = surveys.last() {
            check_joint(before, &survey)?;
        }
        surveys.push(survey);
    }
    Ok(surveys)
}

fn survey(folder: &Folder, id: SegmentId, access: Access) -> Result<Survey, OpenError> {
    let path = folder.segment_path(id);
    let file = folder.open_file(&path, access)?;
    let length = file.len().map_err(failed("measure", &path))?;
    let mut sector = [0; SECTOR_BYTES];
    let header_length = sector.len().min(length as usize);
    file.read_exact_at(&mut sector[..header_length], 0)
        .map_err(failed("read", &path))?;
    let header = check_header(&path, id, length, &sector)?;
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0).map_err(failed("read", &path))?;

    let mut segment = Segment::empty(file, path, header);
    let mut term = header.term;
    loop {
        let at = segment.end_offset() as usize;
        match frame::check_batch(&bytes[at..], header.salt, segment.info().end) {
            Ok(shape) => {
                segment.note(u64::from(shape.records), shape.bytes as u64);
                term = term.max(shape.term);
            }
            Err(fault) => {
                return Ok(Survey {
                    segment,
                    term,
                    bytes: Bytes::from(bytes),
                    fault_offset: (at + fault) as u64,
                });
            }
        }
    }
}

/// A named segment was whole when it got its name, so its header and length are never torn.
fn check_header(path: &Path, id: SegmentId, length: u64, sector: &[u8]) -> Result<Header, OpenError> {
    let damaged = |offset, damage| OpenError::Damaged {
        file: path.to_owned(),
        offset,
        damage,
    };
    let header = Header::decode(sector).map_err(|fault| match fault {
        HeaderFault::Damaged => damaged(0, Damage::Header),
        HeaderFault::Version(found) => OpenError::Version {
            file: path.to_owned(),
            found,
            known: VERSION,
        },
    })?;
    if header.id != id {
        return Err(damaged(0, Damage::HeaderId { found: header.id }));
    }
    if header.segment_bytes != length || length < HEADER_BYTES {
        let expected = header.segment_bytes;
        return Err(damaged(
            length,
            Damage::Length {
                found: length,
                expected,
            },
        ));
    }
    Ok(header)
}

/// A segment was flushed to its last batch before the next was begun.
fn check_joint(before: &Survey, next: &Survey) -> Result<(), OpenError> {
    let (end, next) = (before.segment.info().end, next.segment.info().first);
    if end == next {
        return Ok(());
    }
    Err(OpenError::Damaged {
        file: before.segment.path.clone(),
        offset: before.fault_offset,
        damage: Damage::Gap { end, next },
    })
}

/// Whether what lies behind the last whole batch may be cut; says where when there is something to cut.
pub(super) fn check_tail(tail: Option<&Survey>, dir: &Path, floor: Floor) -> Result<Option<Cut>, OpenError> {
    let Some(tail) = tail else {
        if floor.position() == Position(0) {
            return Ok(None);
        }
        let (dir, floor) = (dir.to_owned(), floor.position());
        return Err(OpenError::Empty { dir, floor });
    };
    let end = tail.segment.info().end;
    let end_offset = tail.segment.end_offset();
    let damaged = |damage| OpenError::Damaged {
        file: tail.segment.path.clone(),
        offset: tail.fault_offset,
        damage,
    };
    let remains = frame::remains(&tail.bytes[end_offset as usize..], tail.segment.header.salt, end);
    if let Remains::Later(distance) = remains {
        let later_offset = end_offset + distance as u64;
        return Err(damaged(Damage::BeforeBatch { end, later_offset }));
    }
    if end < floor.position() {
        let floor = floor.position();
        return Err(damaged(Damage::BelowFloor { end, floor }));
    }
    Ok((remains == Remains::Next).then(|| Cut {
        file: tail.segment.path.clone(),
        offset: end_offset,
        position: end,
    }))
}

/// Makes what was found certain: writes the last segment anew, or the first one of all.
fn settle(folder: Folder, options: Options, mut surveys: Vec<Survey>) -> Result<Recovered, OpenError> {
    let last_salt = surveys.iter().map(|survey| survey.segment.header.salt).max();
    // Higher than any salt of a file that may be used again, and those left over are gone.
    let salt = last_salt.unwrap_or(Salt(0)).next();
    let term = surveys.iter().map(|survey| survey.term).max().unwrap_or_default();
    let open = match surveys.pop() {
        Some(tail) => rewrite(&folder, &tail, salt, options)?,
        None => {
            let header = Header {
                segment_bytes: options.segment_bytes,
                id: SegmentId(1),
                salt,
                first: Position(0),
                term,
            };
            begin_segment(&folder, None, header)?
        }
    };
    Ok(Recovered {
        folder,
        options,
        closed: surveys.into_iter().map(|survey| survey.segment).collect(),
        open,
        next_salt: salt.next(),
        term,
    })
}

/// Puts a new file with the whole batches of `tail` in its place.
fn rewrite(folder: &Folder, tail: &Survey, salt: Salt, options: Options) -> Result<Segment, OpenError> {
    let header = Header {
        segment_bytes: options.segment_bytes.max(tail.segment.end_offset()),
        salt,
        ..tail.segment.header
    };
    let path = folder.rewrite_path(header.id);
    let file = folder.open_file(&path, Access::CreateNew)?;
    let mut segment = Segment::empty(Arc::clone(&file), tail.segment.path.clone(), header);
    let mut image = Vec::with_capacity(header.segment_bytes as usize);
    image.extend_from_slice(&header.encode());
    while segment.info().end < tail.segment.info().end {
        copy_batch(tail, &mut segment, &mut image)?;
    }
    image.resize(header.segment_bytes as usize, 0);
    file.write_at(&image, 0).map_err(failed("write", &path))?;
    file.sync().map_err(failed("flush", &path))?;
    folder.rename(&path, &segment.path)?;
    Ok(segment)
}

/// Adds to `image` the next batch of `tail`, under the salt of `segment`. Batches keep their offsets.
fn copy_batch(tail: &Survey, segment: &mut Segment, image: &mut Vec<u8>) -> Result<(), OpenError> {
    let (at, start) = (image.len(), segment.info().end);
    let damaged = |offset: usize| OpenError::Damaged {
        file: tail.segment.path.clone(),
        offset: offset as u64,
        damage: Damage::Frame,
    };
    let shape = frame::check_batch(&tail.bytes[at..], tail.segment.header.salt, start)
        .map_err(|fault| damaged(at + fault))?;
    let records = frame::decode_records(&tail.bytes, at, &shape).map_err(damaged)?;
    frame::encode_batch(image, segment.header.salt, shape.term, start, &records);
    segment.note(u64::from(shape.records), shape.bytes as u64);
    Ok(())
}
