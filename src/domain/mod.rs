//! The pure core: what may happen, and what follows from it. No I/O, no clock, no randomness.
//!
//! One word, one meaning (the glossary is in `docs/architecture.md`).

mod digest;
mod ids;
mod time;

pub mod canonical;

pub use digest::{Digest, Hasher, leaf_hash, node_hash};
pub use ids::{ArtifactName, JobId, PackName, RunId, Seq, StepName, TenantName, TokenId};
pub use time::Timestamp;
