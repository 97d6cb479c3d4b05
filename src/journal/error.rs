//! What can go wrong in the journal, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::{Position, SegmentId, Term};

/// The disk refused an operation.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempted} {path}: {source}", path = path.display())]
pub struct DiskError {
    /// What was attempted, as a verb.
    pub attempted: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the disk said.
    pub source: io::Error,
}

/// For `map_err`: says what was attempted on what.
pub(super) fn failed(attempted: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    move |source| DiskError {
        attempted,
        path: path.to_owned(),
        source,
    }
}

/// Why a place in a segment cannot be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The header is not one, or its checksum is wrong.
    Header,
    /// The header belongs to another file name.
    HeaderId { found: SegmentId },
    /// The file is not as long as its header says.
    Length { found: u64, expected: u64 },
    /// A frame is damaged.
    Frame,
    /// Records are missing here: a stored projection or checkpoint reaches further.
    BelowFloor { end: Position, floor: Position },
    /// Records are missing here: a later batch of the same segment is whole.
    BeforeBatch { end: Position, later_offset: u64 },
    /// The segment ends here, the next begins elsewhere.
    Gap { end: Position, next: Position },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Header => write!(f, "the segment header is damaged"),
            Damage::HeaderId { found } => write!(f, "the header belongs to segment {found}"),
            Damage::Length { found, expected } => {
                write!(f, "the file has {found} bytes, its header says {expected}")
            }
            Damage::Frame => write!(f, "a frame is damaged"),
            Damage::BelowFloor { end, floor } => write!(
                f,
                "records from position {end} are damaged or missing, though {floor} were stored"
            ),
            Damage::BeforeBatch { end, later_offset } => write!(
                f,
                "records from position {end} are damaged, though a later batch at offset {later_offset} is whole"
            ),
            Damage::Gap { end, next } => write!(
                f,
                "the segment ends at position {end}, the next begins at position {next}"
            ),
        }
    }
}

/// The journal cannot be opened, and nothing of it is served.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed. Nothing was lost by trying; it may be tried again after the cause is gone.
    #[error("opening the journal: {0}")]
    Failed(#[from] DiskError),
    /// Damage that cannot be a torn tail.
    #[error("opening the journal: {file} at offset {offset}: {damage}", file = file.display())]
    Damaged {
        file: PathBuf,
        offset: u64,
        damage: Damage,
    },
    /// A segment between two others is gone.
    #[error("opening the journal: {file} is missing, though a later segment is there", file = file.display())]
    Missing { file: PathBuf },
    /// There is no segment at all.
    #[error("opening the journal: {dir} holds no segment, though {floor} records were stored", dir = dir.display())]
    Empty { dir: PathBuf, floor: Position },
    /// Written by a newer program.
    #[error("opening the journal: {file} has format version {found}, this program reads {known}", file = file.display())]
    Version { file: PathBuf, found: u32, known: u32 },
}

/// A batch was not appended, or it is not known whether it was.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The comparison failed; nothing was written.
    #[error("append refused: the journal is at position {end} under term {term}")]
    Conflict { term: Term, end: Position },
    /// No segment can hold the batch; nothing was written.
    #[error("append refused: the batch takes {bytes} bytes, a segment holds {bytes_max}")]
    TooLarge { bytes: u64, bytes_max: u64 },
    /// Uncertain: the batch may be there after a restart.
    #[error("append failed, its outcome is unknown: {0}")]
    Failed(#[from] DiskError),
    /// An earlier call failed.
    #[error("append refused: the journal failed before and must be opened anew")]
    Poisoned,
}

/// Records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not all of the range is kept here.
    #[error("read refused: {from}..{to} asked for, {start}..{end} kept")]
    OutOfRange {
        from: Position,
        to: Position,
        start: Position,
        end: Position,
    },
    /// What was written is no longer there, or the segment was released and written over.
    #[error("reading the journal: {file} at offset {offset}: {damage}", file = file.display())]
    Damaged {
        file: PathBuf,
        offset: u64,
        damage: Damage,
    },
    /// The disk failed.
    #[error("reading the journal: {0}")]
    Failed(#[from] DiskError),
    /// An append failed before: what the files hold is not certain.
    #[error("read refused: the journal failed before and must be opened anew")]
    Poisoned,
}

/// A segment could not be released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// No such closed segment, or released before.
    #[error("segment {0} is not a closed segment")]
    Unknown(SegmentId),
    /// The disk failed; the journal must be opened anew.
    #[error("releasing a segment: {0}")]
    Failed(#[from] DiskError),
    /// An earlier call failed.
    #[error("release refused: the journal failed before and must be opened anew")]
    Poisoned,
}
