//! The ledgers: per tenant an RFC 6962 tree over event bytes, its immutable history, checkpoints and proofs.
//!
//! Promises: an event once archived is never changed; whatever is read is what was written, or an error that names
//! file and offset; a crash at any point leaves the state before or after an [`TenantLedger::archive`], never a mix.
//! Must never: look inside an event, decide when to sign, or hold a lock while flushing.
//!
//! ```text
//! DIR/ledgers/<tenant>/history/<first seq>.frames    256 events a frame, see frame.rs
//!                              <first seq>.index     16 bytes a frame, see index.rs
//!                              tail                  the incomplete last frame and the commit point, see tail.rs
//!                      tiles/<level>                 32 bytes a hash, see tiles.rs
//!                      checkpoint                    the newest signed checkpoint
//! ```

mod checkpoint;
mod error;
mod frame;
mod frame_cache;
mod history;
mod index;
mod ledgers;
mod merkle;
mod note;
mod proof;
mod tail;
mod tenant;
mod tiles;
mod tree;

pub use checkpoint::{Checkpoint, Origin, SignedCheckpoint};
pub use error::LedgerError;
pub use frame_cache::FrameCache;
pub use ledgers::Ledgers;
pub use merkle::{Frontier, ProofError, TreeHead, empty_root, verify_consistency, verify_inclusion};
pub use note::{NoteError, SignedNote};
pub use proof::EventProof;
pub use tenant::{Pushed, TenantLedger};
pub use tree::{Subtrees, consistency_proof, frontier_at, inclusion_proof};
