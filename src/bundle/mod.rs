//! Audit bundles: a signed archive of a ledger range and its projections, to be checked on the other side of a gap.
//!
//! ```text
//! file       one zstd frame                         transport: transport damage is told apart, nothing else
//!  └ tar     strict ustar, its SHA-256 is the id    tar, members
//!     ├ audit/manifest.dsse.json                    dsse around manifest: digest and size of every other member
//!     └ audit/…                                     checkpoints, frontier, leaves, history, state files, …
//! ```
//! Promises: the same range, policy and keys give the same bytes; any changed byte of the archive is found, and a changed
//! event is named; writing and verifying stream, so a bundle of 10 GB needs no more memory than a small one; nothing
//! that a bundle contains can make verification panic, write a file or trust a key.
//! The format is described for auditors in `docs/bundle-format.md`; `docs/verify.py`, `docs/verify-short.py` and `docs/verify.sh` check it without us.

mod anchor;
mod beside;
mod conclude;
mod contents;
pub mod desk;
mod disclosed;
pub mod disclosures;
pub mod dsse;
pub mod export;
pub mod frontier;
mod held;
mod history;
pub mod import;
pub mod kept;
mod locate;
pub mod manifest;
mod meaning;
mod members;
mod named;
pub mod order;
mod pass;
mod policy;
pub mod quarantine;
mod reading;
mod redacted;
pub mod reemit;
mod refused;
pub mod replay;
mod report;
pub mod roots;
mod signatures;
mod sources;
mod state;
pub mod stored;
mod survey;
pub mod tar;
pub mod transport;
mod verify;
pub mod vouched;
mod write;

pub use anchor::Anchor;
pub use disclosed::{Later, verify_later};
pub use held::{checkpoint as foreign_checkpoint, each_event, hold};
pub use history::LEAF_DIGITS;
pub use members::{Member, StateFile};
pub use reading::Opener;
pub use redacted::digests_kept_with;
pub use report::{Check, Report, Status, Verdict};
pub use verify::{
    Held, HeldTip, LineVisitor, Options, Outcome, Replay, ReplayError, VerifyError, peek, verify,
};
pub use write::{BundleWriter, ContentOpener, Measure, Range, VERIFY_TEXT, WriteError, Written};
