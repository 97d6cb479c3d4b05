//! Where output lies: `DIR/output/<tenant>/<run>/<job>/<attempt>/{stdout,stderr,lines}` and `DIR/output/blobs/`.
//!
//! Names on disk come from checked newtypes alone, so no input can point outside the folder.

use std::path::{Path, PathBuf};

use crate::domain::{Digest, JobId, RunId, TenantName};

/// The run whose lines share one order. A job outside any run is a run of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunScope {
    pub tenant: TenantName,
    pub run: RunId,
}

impl RunScope {
    /// The scope of a job: its run, or itself.
    pub fn of_job(tenant: TenantName, run: Option<RunId>, job: JobId) -> Self {
        RunScope {
            tenant,
            run: run.unwrap_or(RunId::from_bytes(*job.as_bytes())),
        }
    }

    pub(super) fn dir(&self, root: &Path) -> PathBuf {
        root.join(tenant_dir(&self.tenant)).join(self.run.to_string())
    }
}

/// One attempt of one job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttemptKey {
    pub scope: RunScope,
    pub job: JobId,
    pub attempt: u32,
}

impl AttemptKey {
    pub(super) fn dir(&self, root: &Path) -> PathBuf {
        attempt_dir(&self.scope.dir(root), self.job, self.attempt)
    }
}

pub(super) fn attempt_dir(run_dir: &Path, job: JobId, attempt: u32) -> PathBuf {
    run_dir.join(job.to_string()).join(attempt.to_string())
}

/// A dot cannot occur in a local tenant's name, so neither an imported ledger nor the blobs share a folder with one.
fn tenant_dir(tenant: &TenantName) -> String {
    if tenant.as_str() == BLOBS {
        return format!("{BLOBS}.");
    }
    tenant.as_str().replace([':', '/'], ".")
}

const BLOBS: &str = "blobs";

pub(super) fn blobs_dir(root: &Path) -> PathBuf {
    root.join(BLOBS)
}

pub(super) fn blob_path(blobs: &Path, sha256: &Digest) -> PathBuf {
    let text = sha256.to_string();
    blobs.join(&text[..2]).join(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tenant_shares_a_folder_with_another_or_with_the_blobs() {
        let dir = |name: &str| tenant_dir(&name.parse().unwrap());
        let names = [
            "plant",
            "foreign:0123456789abcdef/plant",
            "foreign",
            "blobs",
            "system",
        ];
        let dirs: std::collections::BTreeSet<_> = names.iter().map(|name| dir(name)).collect();
        assert_eq!(dirs.len(), names.len());
        assert!(
            dirs.iter().all(|dir| Path::new(dir) != blobs_dir(Path::new(""))),
            "{dirs:?}"
        );
        assert_eq!(
            dir("foreign:0123456789abcdef/plant"),
            "foreign.0123456789abcdef.plant"
        );
    }
}
