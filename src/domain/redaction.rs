//! Redaction: fields that are in no leaf. In the object stands `_sd`, the sorted digests; what they stand for is a disclosure.
//!
//! ```text
//! disclosure   base64url, without padding, of the JSON text ["<salt>","<name>",<value>]     RFC 9901, for members of objects
//! digest       base64url, without padding, of SHA-256 over the ASCII text of the disclosure
//! _sd          sorted list of digests, in the object whose members they stand for
//! ```
//! Owns the form, taking fields out and putting them back, and the rules that say which fields. Where disclosures are kept is
//! told by `disclosures.rs`; where they may go, by `bundle/`.
//!
//! Promises: what is taken out and put back is the payload again, byte for byte; a digest says nothing about a value, since each
//! salt has 256 bits; disclosures never nest. It must never take out what the state machine reads, and never show a value in
//! an error or a `Debug`.

mod disclosure;
mod fields;
mod pointer;
mod policy;
mod reserved;

pub use self::disclosure::{Disclosure, DisclosureError, Opened, SALT_BYTES, read_digest, write_digest};
pub use self::fields::{
    FieldsError, Salts, Seed, Shown, blank, disclose, look, put_digests, redact, references,
};
pub use self::pointer::{Pointer, PointerError};
pub use self::policy::{FULL, INTAKE, OPERATIONAL, Policy, RUN_INPUTS_TYPE, Rule, STEP_TYPE};
pub use self::reserved::reserved_name;

use std::collections::BTreeSet;

use super::Seq;

/// A disclosure to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What is kept.
    pub disclosure: Disclosure,
    /// The event with which it is kept: the first that has its digest.
    pub with: Seq,
}

/// What of a new job's payload is in no leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sensitive {
    /// These fields are to be taken out, besides those that the policy of the tenant names.
    Fields(BTreeSet<Pointer>),
    /// The payload is redacted already; the disclosures are kept with this event.
    Kept(Seq),
}

impl Default for Sensitive {
    fn default() -> Self {
        Sensitive::Fields(BTreeSet::new())
    }
}

impl Sensitive {
    /// Of a payload that is made again.
    pub fn again(disclosures: Option<Seq>) -> Self {
        disclosures.map_or_else(Sensitive::default, Sensitive::Kept)
    }
}

/// The member that holds digests.
pub const DIGESTS: &str = "_sd";
/// What stands for an element of a list in the RFC; never made here, and refused.
pub const ELEMENT: &str = "...";
