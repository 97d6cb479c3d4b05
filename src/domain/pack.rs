//! Packs: source bytes in YAML or JSON become a checked, normalised, canonical definition.
//!
//! Owns the schema of the pack file, its checks with line and column, the declared inputs, and what a step becomes when it
//! is handed to a runner. `bundles/schemas/pack.schema.json` says the same for editors.
//!
//! Promises: what [`PackSpec::parse`] accepts, the engine can run: names are unique, needs are known and without a cycle,
//! everything is within `limits`. Two spellings of one definition normalise to the same bytes, and [`plan_hash`] is the
//! SHA-256 of exactly these bytes.
//!
//! Must never read a file, guess at a misspelt field, or let an expression reach a shell.

mod diff;
mod dynamic;
mod error;
mod expression;
mod fields;
mod graph;
mod inputs;
mod node;
mod plan;
mod read;
mod resolve;
mod spec;
mod step;
mod task;
mod units;

pub use diff::{FieldDiff, Named, PackDiff};
pub use error::{PackCode, PackError, PackErrors};
pub use expression::Facts;
pub use inputs::resolve_inputs;
pub use plan::{Foretold, Placed, Plan, SealedRefusal};
pub use resolve::{Resolution, step_facts};
pub use spec::{
    Action, ArtifactFrom, ArtifactSpec, Gate, InputSpec, InputType, MapSpec, Network, PackSpec, SealedUse,
    StepSpec, plan_hash,
};
pub use task::{StepTask, TaskError, input_text, input_variable};

/// The JSON Schema of pack files (2020-12), as it is published.
pub const SCHEMA: &str = include_str!("../../bundles/schemas/pack.schema.json");

#[cfg(test)]
mod tests;
