//! The member `audit/trust/policy`: which policies were in force where the bundle was made.
//!
//! ```text
//! {"approval":"none","format":1,"origin":"<ledger>","redaction":"<policy>","tenant":"<tenant>"} LF
//! ```
//! `redaction` is the policy that the manifest names, `approval` whether a second person had to agree to the export. It names
//! its ledger, so that it cannot stand in the bundle of another. An empty member says nothing and is accepted.

use serde::{Deserialize, Serialize};

use super::manifest::Predicate;
use super::report::Verdict;
use super::write::Range;
use crate::domain::canonical::to_canonical;

/// The only format.
const FORMAT: u32 = 1;
/// No second person has to agree.
const NO_APPROVAL: &str = "none";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    approval: String,
    format: u32,
    origin: String,
    redaction: String,
    tenant: String,
}

/// The policies in force for a range.
pub(super) fn write(range: &Range) -> Vec<u8> {
    let mut bytes = to_canonical(&Policy {
        approval: NO_APPROVAL.to_owned(),
        format: FORMAT,
        origin: range.origin.clone(),
        redaction: range.redaction.policy.clone(),
        tenant: range.tenant.to_string(),
    });
    bytes.push(b'\n');
    bytes
}

/// Holds the member against the manifest.
pub(super) fn check(bytes: &[u8], predicate: &Predicate) -> Result<(), (Verdict, String)> {
    if bytes.is_empty() {
        return Ok(());
    }
    let malformed = |why: String| (Verdict::Malformed, why);
    let policy: Policy = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    let line = [to_canonical(&policy).as_slice(), b"\n"].concat();
    if line != bytes {
        return Err(malformed("not canonical JSON with one LF at its end".to_owned()));
    }
    if policy.format != FORMAT || policy.approval != NO_APPROVAL {
        return Err(malformed("a policy that this format does not have".to_owned()));
    }
    let same = policy.origin == predicate.origin
        && policy.tenant == predicate.tenant.to_string()
        && policy.redaction == predicate.redaction.policy;
    if same {
        Ok(())
    } else {
        let why = "it is the policy of another ledger, or another one than the manifest names";
        Err((Verdict::Tampered, why.to_owned()))
    }
}
