//! What is asked of redacted fields, and of the rules that name them.

use crate::domain::canonical::CanonicalText;
use crate::domain::payload::redaction::DisclosureExported;
use crate::domain::redaction::{Policy, Rule};
use crate::domain::{JobId, PolicyName, RunId, Seq};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedactionCommand {
    /// Give a policy these rules.
    SetPolicy {
        /// Its name.
        name: PolicyName,
        /// Recorded with it.
        reason: String,
        /// What it names from now on.
        rules: Vec<Rule>,
    },
    /// End a policy.
    DeletePolicy {
        /// Its name.
        name: PolicyName,
        /// Recorded with it.
        reason: String,
    },
    /// Note that the values are looked at.
    Read {
        /// Of what.
        of: Redacted,
        /// Recorded with it.
        reason: String,
    },
    /// End the values.
    Erase {
        /// Of what.
        of: Redacted,
        /// Recorded with it.
        reason: String,
    },
    /// Note that disclosures left without their range (ledger `system`).
    RecordExport(DisclosureExported),
}

/// What has redacted fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redacted {
    /// The payload of a job.
    Job(JobId),
    /// The inputs of a run.
    Run(RunId),
}

/// What is answered to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedactionReply {
    /// A policy that was changed, and whether there was one before.
    Policy {
        /// As it stands now.
        now: Option<Policy>,
        /// There was one of this name.
        was_there: bool,
    },
    /// Something redacted, and the event with which its disclosures are, or were, kept.
    Kept {
        /// The object with the digests.
        redacted: CanonicalText,
        /// The event.
        with: Seq,
    },
}
