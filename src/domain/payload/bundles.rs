//! Payloads of what happens to bundles: out, in, refused, waiting for persons. All of them are in the ledger `system`.

use serde::{Deserialize, Serialize};

use super::redaction::ExportedRedaction;
use crate::domain::{Digest, TenantName};

payload!(
    /// A bundle left (ledger `system`).
    BundleExported {
        /// First sequence in it.
        first: u64,
        /// How many files that were asked for are not here any more, and so not in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<u64>,
        /// Origin of the ledger.
        origin: String,
        /// What of redacted fields is in it; none in events of before there were any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        redaction: Option<ExportedRedaction>,
        /// Root at its size.
        root: Digest,
        /// Size of the ledger at its end.
        size: u64,
        /// SHA-256 of the tar.
        tar_sha256: Digest,
        /// What was put in besides the history: `artifacts`, `logs`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        with: Vec<String>,
    }
);

payload!(
    /// A bundle was verified here (ledger `system`).
    BundleVerified {
        /// Exit code of the verification.
        exit_code: i32,
        /// Origin, where it could be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<String>,
        /// SHA-256 of the file as it came.
        sha256: Digest,
    }
);

payload!(
    /// A bundle was taken in as a read-only tenant (ledger `system`). The verified tar is stored before.
    BundleImported {
        /// First sequence in it.
        first: u64,
        /// Origin of the ledger.
        origin: String,
        /// Root at its size.
        root: Digest,
        /// Size of the ledger at its end.
        size: u64,
        /// SHA-256 of the tar, by which it is stored.
        tar_sha256: Digest,
        /// The read-only tenant.
        tenant: TenantName,
        /// Newest root of trust in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trust_version: Option<u64>,
    }
);

payload!(
    /// A bundle was refused (ledger `system`). It lies in quarantine.
    BundleRefused {
        /// The first check that failed.
        detail: String,
        /// Exit code of the verification.
        exit_code: i32,
        /// What that comes to: `fork`, `tampered`, `incomplete`, `untrusted`, `malformed`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        /// Origin, where it could be read; anybody's text unless the kind is `fork`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<String>,
        /// SHA-256 of the file as it came.
        sha256: Digest,
    }
);

payload!(
    /// A verified bundle waits until persons have approved it (ledger `system`). The tar is stored before.
    BundleImportRequested {
        /// How many persons have to approve; whoever asked is none of them.
        approvals: u32,
        /// SPKI PEM of the key that signs bundles, where none is pinned yet: pinned with the import.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        export_key: Option<String>,
        /// First sequence in it.
        first: u64,
        /// SPKI PEM of the key that signs checkpoints, likewise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log_key: Option<String>,
        /// Origin of the ledger.
        origin: String,
        /// Root at its size.
        root: Digest,
        /// Size of the ledger at its end.
        size: u64,
        /// SHA-256 of the tar, by which it is stored.
        tar_sha256: Digest,
        /// The read-only tenant that it would be.
        tenant: TenantName,
        /// Newest root of trust in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trust_version: Option<u64>,
    }
);

payload!(
    /// A person, the actor, approved an import (ledger `system`).
    BundleImportApproved {
        /// Why.
        reason: String,
        /// SHA-256 of the tar.
        tar_sha256: Digest,
    }
);

payload!(
    /// A person, the actor, rejected an import (ledger `system`). The stored tar goes.
    BundleImportRejected {
        /// Why.
        reason: String,
        /// SHA-256 of the tar.
        tar_sha256: Digest,
    }
);

payload!(
    /// A bundle that persons were asked about can be taken in no more: its ledger went on without it (ledger `system`). The
    /// stored tar goes.
    BundleImportSuperseded {
        /// Events of the ledger that are held; the bundle begins before that.
        held: u64,
        /// SHA-256 of the tar.
        tar_sha256: Digest,
    }
);

payload!(
    /// A bundle left quarantine for good (ledger `system`).
    BundleDiscarded {
        /// `quarantine_full`, or what was given with the request.
        reason: String,
        /// SHA-256 of the file as it came.
        sha256: Digest,
    }
);

payload!(
    /// Somebody began to fetch a bundle, or a part of one (ledger `system`).
    BundleDownloaded {
        /// First byte of the file that was asked for.
        from: u64,
        /// SHA-256 of the tar.
        tar_sha256: Digest,
        /// Whose ledger it holds.
        tenant: TenantName,
    }
);

payload!(
    /// Something about bundles was asked and not done (ledger `system`). Noted once per person, action, code and minute.
    BundleAttemptFailed {
        /// `export`, `verify`, `import`, `approve`, `reject`, `download`, `discard`.
        action: String,
        /// The stable code of the answer.
        code: String,
        /// Which bundle or tenant was named, where one was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<String>,
    }
);
