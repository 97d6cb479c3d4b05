//! Packs: source bytes in YAML or JSON become a checked, normalised, canonical definition.
//!
//! Owns the schema of the pack file, its checks with line and column, the declared inputs, and what a step becomes when it
//! is handed to a runner. `bundles/schemas/pack.v1.schema.json` says the same for editors.
//!
//! Promises: what [`PackSpec::parse`] accepts, the engine can run: names are unique, needs are known and without a cycle,
//! everything is within `limits`. Two spellings of one definition normalise to the same bytes, and [`plan_hash`] is the
//! SHA-256 of exactly these bytes.
//!
//! Must never read a file, guess at a misspelt field, or let an expression reach a shell.

mod error;
mod fields;
mod graph;
mod inputs;
mod node;
mod read;
mod spec;
mod step;
mod task;
mod units;

pub use error::{PackCode, PackError, PackErrors};
pub use inputs::resolve_inputs;
pub use spec::{
    Action, ArtifactFrom, ArtifactSpec, InputSpec, InputType, Network, PackSpec, SealedUse, StepSpec,
    plan_hash,
};
pub use task::{StepTask, TaskError};

#[cfg(test)]
mod tests;
