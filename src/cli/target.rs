//! Files that verbs write: what is there is left alone, unless the caller says otherwise.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

use super::exit::{Exit, Failure};

/// Whether a file that is there may be written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// It stays.
    Never,
    /// The caller said so.
    Force,
}

impl From<bool> for Over {
    fn from(force: bool) -> Self {
        if force { Over::Force } else { Over::Never }
    }
}

/// Whether `out` may be written, asked before anything else is done. `-` is standard output. What is no regular file is
/// never replaced: a device, or a link that somebody else made.
///
/// # Errors
/// Conflict: something is there. There is no such folder.
pub fn check(out: &Path, over: Over) -> Result<()> {
    if out == Path::new("-") {
        return Ok(());
    }
    let name = out.display();
    let conflict = |message: String| Err(Failure::new(Exit::Conflict, message).into());
    match std::fs::symlink_metadata(out) {
        Ok(facts) if !facts.is_file() => conflict(format!("{name} is there and is no regular file")),
        Ok(_) if over == Over::Never => conflict(format!("{name} exists; --force writes over it")),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
            match folder.map(Path::is_dir) {
                Some(false) => Err(anyhow::anyhow!("cannot write {name}: there is no such folder")),
                Some(true) | None => Ok(()),
            }
        }
        Err(error) => Err(error).with_context(|| format!("cannot write {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays_and_what_is_no_file_stays_in_any_case() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        check(&file, Over::Never).unwrap();
        check(Path::new("-"), Over::Never).unwrap();
        std::fs::write(&file, b"x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(
            check(&file, Over::Never)
                .unwrap_err()
                .to_string()
                .contains("--force")
        );
        check(&file, Over::Force).unwrap();
        for odd in [link.as_path(), folder.path()] {
            let said = check(odd, Over::Force).unwrap_err().to_string();
            assert!(said.contains("no regular file"), "{said}");
        }
        let nowhere = folder.path().join("none").join("file");
        assert!(
            check(&nowhere, Over::Force)
                .unwrap_err()
                .to_string()
                .contains("no such folder")
        );
    }
}
