//! The payloads of what happens to redacted fields. They never carry a value, a salt or a name.

use serde::{Deserialize, Serialize};

use crate::domain::redaction::Rule;
use crate::domain::{Digest, PolicyName, Seq};

payload!(
    /// Somebody looked at the values of a job's or run's redacted fields. Recorded before they are shown.
    DisclosureRead {
        /// The event with which the disclosures are kept.
        disclosures: Seq,
        /// Why.
        reason: String,
    }
);

payload!(
    /// The values of redacted fields are no more. Recorded before they are overwritten, which is done before it is answered,
    /// and done again at the next start when the process ends in between.
    DisclosureErased {
        /// The event with which the disclosures were kept.
        disclosures: Seq,
        /// Why.
        reason: String,
    }
);

payload!(
    /// Disclosures of a range left, without the range (ledger `system`).
    DisclosureExported {
        /// First event.
        first: u64,
        /// Origin of the ledger.
        origin: String,
        /// By which policy.
        policy: String,
        /// SHA-256 of the file.
        sha256: Digest,
        /// How many.
        shown: u64,
        /// One more than the last event.
        size: u64,
    }
);

payload!(
    /// A policy has other rules, or is new.
    RedactionPolicySet {
        /// Its name.
        name: PolicyName,
        /// Why.
        reason: String,
        /// What it names.
        rules: Vec<Rule>,
    }
);

payload!(
    /// A policy is no more.
    RedactionPolicyDeleted {
        /// Its name.
        name: PolicyName,
        /// Why.
        reason: String,
    }
);

payload!(
    /// What of redacted fields is in a bundle.
    ExportedRedaction {
        /// By which policy.
        policy: String,
        /// Digests whose disclosures are in it.
        shown: u64,
        /// Digests whose disclosures are not.
        withheld: u64,
    }
);
