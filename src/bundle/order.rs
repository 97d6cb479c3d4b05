//! Work orders: a signed request to run packs elsewhere, and its way from the hub to an enclave and back.
//!
//! ```text
//! file       one zstd frame                          transport
//!  └ tar     strict ustar, its SHA-256 names the order's bytes
//!     ├ order/manifest.dsse.json                     signed by the hub's orders key: digest and size of every other member
//!     ├ order/inputs/<sha256>                        inputs of a run, canonical JSON
//!     ├ order/packs/<sha256>                         packs, byte for byte
//!     └ order/verify.txt                             how to check this by hand
//! ```
//! Promises: the same order and key give the same bytes; nothing that a file contains can make verification panic, take more
//! memory than the bounds of an order, or trust a key that people did not pin; an order starts at most once.
//! The format is described in `docs/work-orders.md`.
//!
//! Reading order: `manifest`, `members`, `content`, `write`, `checks`, `verify`; then `letters`, `issue` (the hub), `intake` (the
//! enclave), `evidence` (the hub again).

mod checks;
mod content;
pub mod evidence;
pub mod intake;
pub mod issue;
pub mod letters;
pub mod manifest;
mod members;
mod refusal;
mod signer;
pub mod verify;
pub mod write;

pub use self::content::{ContentError, content_of};
pub use self::members::OrderMember;
pub use self::signer::Given;
