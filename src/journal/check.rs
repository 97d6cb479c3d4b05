//! Looking at a journal without changing anything of it.

use std::path::Path;
use std::sync::Arc;

use super::error::{OpenError, ReadError};
use super::folder::Folder;
use super::recover::{Floor, Recovery, check_tail, survey_all};
use super::{Position, Visit};
use crate::disk::{Access, Disk};

/// The journal cannot be opened as it is, or not all of it can be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// What [`super::open`] would say.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A batch that is whole by its checksums cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Verifies the journal in `dir` and visits every record that [`super::open`] would serve, in order. Creates, writes and
/// flushes nothing. A folder that is not there is an empty journal. Nobody may have it open.
///
/// # Errors
/// [`CheckError`] names file and offset.
pub fn check(
    disk: Arc<dyn Disk>,
    dir: &Path,
    floor: Floor,
    visit: &mut Visit<'_>,
) -> Result<Recovery, CheckError> {
    let folder = Folder::at(disk, dir);
    let listing = folder.list().map_err(OpenError::from)?;
    let surveys = survey_all(&folder, &listing.segments, Access::Read)?;
    let cut = check_tail(surveys.last(), dir, floor)?;
    for survey in &surveys {
        let info = survey.segment.info();
        if survey.segment.read(info.first, info.end, visit)?.is_break() {
            break;
        }
    }
    let start = surveys
        .first()
        .map_or(Position(0), |survey| survey.segment.info().first);
    let end = surveys
        .last()
        .map_or(Position(0), |survey| survey.segment.info().end);
    let term = surveys.iter().map(|survey| survey.term).max().unwrap_or_default();
    Ok(Recovery {
        start,
        end,
        term,
        cut,
    })
}
