//! What can go wrong with step logs and artifacts: always with the path that could not be served.

use std::io;
use std::path::{Path, PathBuf};

/// Storage of output failed, or what is stored is not what was recorded.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The disk refused.
    #[error("cannot {attempted} {}: {cause}", path.display())]
    Disk {
        attempted: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
    /// There is no such log or artifact.
    #[error("there is no {}", path.display())]
    Missing { path: PathBuf },
    /// The bytes are not the recorded ones.
    #[error("{} is damaged: {detail}", path.display())]
    Damaged { path: PathBuf, detail: &'static str },
    /// An artifact exceeds its bound.
    #[error("the artifact is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    /// An earlier write to this log failed; nothing about it is certain any more.
    #[error("an earlier write to the log {} failed", path.display())]
    Broken { path: PathBuf },
    /// Another writer has this log open.
    #[error("the log {} is being written already", path.display())]
    InUse { path: PathBuf },
    /// The attempt's log was already ended and is immutable.
    #[error("the log {} has already ended", path.display())]
    Ended { path: PathBuf },
}

impl OutputError {
    /// For `map_err`: says what was attempted, on which path. A missing file is told apart.
    pub(super) fn disk<'a>(
        attempted: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> OutputError + use<'a> {
        move |cause| match cause.kind() {
            io::ErrorKind::NotFound => OutputError::Missing {
                path: path.to_owned(),
            },
            _ => OutputError::Disk {
                attempted,
                path: path.to_owned(),
                cause,
            },
        }
    }

    pub(super) fn damaged(path: &Path, detail: &'static str) -> OutputError {
        OutputError::Damaged {
            path: path.to_owned(),
            detail,
        }
    }
}
