//! The folder a step works in: `DIR/work/<job>-<attempt>/`, only for its owner, gone when the attempt is over.
//!
//! `.secrets/` holds the secrets of the step, mode 0400, and goes before anything else of the attempt is looked at.
//! `out/` is for results, `needs/<step>/<artifact>` holds verified copies of what earlier steps left. Copies, not
//! links: a step runs under the server's user and could write through a link into a stored artifact.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::RunnerError;
use super::leases::{LeasedJob, NeededArtifact};
use super::local::PATH;
use super::processes;
use crate::domain::pack::StepTask;
use crate::domain::{JobId, SecretName};
use crate::output::Blobs;
use crate::secrets::SecretValue;

/// Name of the file for `key=value` lines.
pub(super) const OUTPUTS: &str = ".outputs";
/// Name of the folder with the secrets of the step; there only when it has some.
const SECRETS: &str = ".secrets";
const OUTPUTS_VARIABLE: &str = "FASTNESS_OUTPUT";

/// A step's folder. Removed by [`Workspace::remove`], or when the next runner starts.
#[derive(Debug)]
pub(super) struct Workspace {
    dir: PathBuf,
}

/// Ends what an earlier runner left in `root`: processes that lost their supervisor, and folders.
pub(super) fn sweep(root: &Path) -> Result<(), RunnerError> {
    create_dir(root)?;
    processes::kill_marked(&format!("{OUTPUTS_VARIABLE}={}/", root.display()));
    let entries = fs::read_dir(root).map_err(RunnerError::workspace("list", root))?;
    for entry in entries {
        let path = entry.map_err(RunnerError::workspace("list", root))?.path();
        remove_all(&path).map_err(RunnerError::workspace("remove", &path))?;
    }
    Ok(())
}

impl Workspace {
    /// Makes an empty folder.
    pub fn create(root: &Path, job: JobId, attempt: u32) -> Result<Workspace, RunnerError> {
        let dir = root.join(format!("{job}-{attempt}"));
        remove_all(&dir).map_err(RunnerError::workspace("remove", &dir))?;
        for dir in [&dir, &dir.join("out"), &dir.join("needs"), &dir.join("tmp")] {
            create_dir(dir)?;
        }
        let outputs = dir.join(OUTPUTS);
        new_file(&outputs, 0o600).map_err(RunnerError::workspace("create", &outputs))?;
        Ok(Workspace { dir })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Copies what earlier steps left; a damaged artifact is never handed over.
    pub fn hand_over(&self, needs: &[NeededArtifact], blobs: &Blobs) -> Result<(), RunnerError> {
        for need in needs {
            let dir = self.dir.join("needs").join(need.step.as_str());
            create_dir(&dir)?;
            let path = dir.join(need.name.as_str());
            let mut file = new_file(&path, 0o400).map_err(RunnerError::workspace("create", &path))?;
            blobs
                .reader(&need.sha256)
                .and_then(|blob| blob.copy_to(&mut file))
                .map_err(|cause| RunnerError::Need {
                    step: need.step.clone(),
                    name: need.name.clone(),
                    cause,
                })?;
        }
        Ok(())
    }

    /// Writes the secrets of the step, each into a file of its name.
    pub fn hand_secrets(&self, secrets: &[(SecretName, SecretValue)]) -> Result<(), RunnerError> {
        let dir = self.dir.join(SECRETS);
        if !secrets.is_empty() {
            create_dir(&dir)?;
        }
        for (name, value) in secrets {
            let path = dir.join(name.as_str());
            new_file(&path, 0o400)
                .and_then(|mut file| file.write_all(value.bytes()))
                .map_err(RunnerError::workspace("write", &path))?;
        }
        Ok(())
    }

    /// Removes the secrets of the step, which is over.
    pub fn drop_secrets(&self) -> Result<(), RunnerError> {
        let dir = self.dir.join(SECRETS);
        remove_all(&dir).map_err(RunnerError::workspace("remove", &dir))
    }

    /// The whole environment of a step. The task may set anything but the names this system speaks for.
    pub fn environment(&self, job: &LeasedJob, task: &StepTask) -> Vec<(String, String)> {
        let path = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let defaults = [
            ("PATH", PATH.to_owned()),
            ("HOME", self.dir.to_string_lossy().into_owned()),
            ("TMPDIR", path("tmp")),
        ];
        let run = job.run.map_or_else(|| job.id.to_string(), |run| run.to_string());
        let ours = [
            ("FASTNESS_RUN", run),
            ("FASTNESS_STEP", task.step.to_string()),
            ("FASTNESS_ATTEMPT", job.attempt.to_string()),
            (OUTPUTS_VARIABLE, path(OUTPUTS)),
            ("FASTNESS_NEEDS", path("needs")),
        ];
        let secrets = ("FASTNESS_SECRETS", path(SECRETS));
        let secrets = Some(secrets).filter(|_| !task.secrets.is_empty());
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        let given = task.env.iter().map(|(name, value)| (name.clone(), value.clone()));
        defaults
            .into_iter()
            .map(owned)
            .chain(given)
            .chain(ours.into_iter().chain(secrets).map(owned))
            .collect()
    }

    /// Kills what still runs for this folder without a supervisor.
    pub fn kill_left(&self) {
        processes::kill_marked(&format!("{OUTPUTS_VARIABLE}={}/", self.dir.display()));
    }

    /// Removes the folder. Nothing of the step may run any more.
    pub fn remove(self) -> Result<(), RunnerError> {
        remove_all(&self.dir).map_err(RunnerError::workspace("remove", &self.dir))
    }
}

fn create_dir(path: &Path) -> Result<(), RunnerError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(RunnerError::workspace("create", path))
}

fn new_file(path: &Path, mode: u32) -> io::Result<fs::File> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

/// Removes a file or tree, without following links. A missing one is fine.
fn remove_all(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_dir() {
        return fs::remove_file(path);
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_removable(path)?;
            fs::remove_dir_all(path)
        }
        result => result,
    }
}

/// A step may leave folders that their owner may not enter.
fn make_removable(root: &Path) -> io::Result<()> {
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_takes_locked_folders_and_leaves_what_links_point_to() {
        let root = tempfile::tempdir().unwrap();
        let kept = root.path().join("kept");
        fs::write(&kept, "x").unwrap();
        let tree = root.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink(root.path(), tree.join("a/b/link")).unwrap();
        fs::set_permissions(tree.join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o500)).unwrap();
        make_removable(&tree).unwrap();
        remove_all(&tree).unwrap();
        assert!(!tree.exists() && kept.exists());
        remove_all(&tree).unwrap();
    }
}
