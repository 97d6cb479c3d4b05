//! The pure core: what may happen, and what follows from it. No I/O, no clock, no randomness.
//!
//! `decide` turns a command and a view of the state into events or a rejection; `apply` folds an event into the state.
//! Everything random and the time come in as data, so a ledger replays to the same bytes of state on any machine.
//!
//! One word, one meaning:
//!
//! | word | meaning |
//! | --- | --- |
//! | tenant | the isolation boundary; each has a ledger of its own, and one ledger is named `system` |
//! | pack | a named, versioned, immutable definition of steps and their dependencies |
//! | run | one execution of a graph of jobs; a pack run is made from a pack version |
//! | job | the unit that is scheduled, leased and retried |
//! | step | a named phase inside a job; the local runner reports a pack step as one |
//! | attempt, lease, epoch | one try at a job; the right to it for a time; the number that fences it |
//! | worker | whoever claims jobs |
//! | secret | a named value that steps get as a file; the ledger knows its name alone |
//! | redaction, disclosure | a field that stands as a salted digest in its event; the text that shows it, kept beside the ledger |
//! | webhook | an address to which events of one tenant are sent as they are recorded |
//! | dead letter, error cluster | a job out of retries; failures with one fingerprint |
//! | command, event, record | what is asked; what was accepted and happened; an event with its place and hash |
//! | ledger, checkpoint | the append-only, Merkle-hashed record of one tenant; a signed tree head |
//! | work order, hub | a signed request to run packs elsewhere; the enclave that issued it |
//! | bundle | a deterministic signed archive of a ledger range and its projections |
//! | import, import request | a foreign ledger held here as a read-only tenant; a bundle for which persons are asked first |
//! | quarantine | where refused bundles lie, with the reason |

mod digest;
mod ids;
mod time;

pub mod canonical;

pub mod concurrency;
pub mod dead_letter;
pub mod glob;
pub mod idempotency;
pub mod import_request;
pub mod job;
pub mod order;
pub mod pack;
pub mod redaction;
pub mod run;
pub mod secret;
pub mod token;
pub mod trust;
pub mod webhook;
pub mod worker;

pub mod event;
pub mod payload;
pub mod report;

pub mod standing;
pub mod state;

pub mod apply;
pub mod command;
pub mod decide;
pub mod rejection;

pub use digest::{Digest, DigestError, Hasher, leaf_hash, node_hash};
pub use ids::{
    ArtifactName, EnclaveName, JobId, NameError, OrderId, PackName, PolicyName, ReportName, RunId, RunName,
    SecretName, SecretVersion, Seq, StepName, TenantName, TokenId, WebhookName,
};
pub use time::{TimeError, Timestamp};
