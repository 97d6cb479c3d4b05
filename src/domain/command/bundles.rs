//! What is asked about bundles on their way in, and what is noted of those on their way out.

use super::Verdict;
use crate::domain::Digest;
use crate::domain::payload::bundles::{
    BundleAttemptFailed, BundleDiscarded, BundleDownloaded, BundleImportRequested,
};

/// About bundles (ledger `system`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleCommand {
    /// Ask persons whether a bundle may be taken in; its tar is verified and stored.
    RequestImport(BundleImportRequested),
    /// A person answers.
    DecideImport {
        /// SHA-256 of the tar.
        tar_sha256: Digest,
        /// Yes or no.
        verdict: Verdict,
        /// Why.
        reason: String,
    },
    /// End the wait of a bundle that its ledger went on without.
    SupersedeImport(Digest),
    /// Note that a bundle left quarantine for good.
    RecordDiscard(BundleDiscarded),
    /// Note that somebody fetches a bundle.
    RecordDownload(BundleDownloaded),
    /// Note that something was asked and not done.
    RecordFailure(BundleAttemptFailed),
}
