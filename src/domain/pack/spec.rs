//! The normalised definition. Fields stand in the order of canonical JSON; durations are milliseconds, sizes bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::canonical::{Value, to_canonical};
use crate::domain::job::RetryPolicy;
use crate::domain::{ArtifactName, Digest, PackName, SecretName, StepName};

/// What a pack version is. Immutable; recorded whole in `pack.registered`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackSpec {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Environment of every step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// What a run can be given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, InputSpec>,
    /// Most of its steps that run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// Its name.
    pub name: PackName,
    /// What its steps may reach.
    pub network: Network,
    /// Absolute paths its steps read beyond the sandbox's standard profile; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
    /// Whether it runs in sealed mode.
    pub sealed: SealedUse,
    /// Secrets that every step gets; sorted, without repeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretName>,
    /// Its steps, in the order of the source.
    pub steps: Vec<StepSpec>,
    /// Longest time of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl PackSpec {
    /// The step of this name.
    pub fn step(&self, id: &StepName) -> Option<&StepSpec> {
        self.steps.iter().find(|step| step.id == *id)
    }

    /// The first of these inputs that is sensitive.
    pub fn sensitive_of<'i>(&self, inputs: &'i BTreeMap<String, Value>) -> Option<&'i str> {
        let is_sensitive = |name: &&String| self.inputs.get(*name).is_some_and(|input| input.sensitive);
        inputs.keys().find(is_sensitive).map(String::as_str)
    }
}

/// SHA-256 of the canonical bytes of the definition. Whoever holds the event `pack.registered` finds it again with
/// `jq -cjS .payload.spec | sha256sum`.
pub fn plan_hash(spec: &PackSpec) -> Digest {
    Digest::of(&to_canonical(spec))
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepSpec {
    /// What is executed.
    pub action: Action,
    /// Runs even when what it needs has failed or was cancelled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always: bool,
    /// Files it leaves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactSpec>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its environment, beyond and above the pack's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Unique within the pack.
    pub id: StepName,
    /// Done once for each item of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<MapSpec>,
    /// Steps that must end first; sorted, without repeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<StepName>,
    /// Bytes of output, after which it is cut with a marker.
    pub output_bytes_max: u64,
    /// When it is tried again.
    pub retries: RetryPolicy,
    /// Secrets that it gets beyond those of the pack; sorted, without repeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretName>,
    /// Longest time of one attempt.
    pub timeout_ms: u64,
    /// Skipped when this expression comes to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// A step that is done once for each item of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MapSpec {
    /// What expressions call the item.
    #[serde(rename = "as")]
    pub item: String,
    /// Most of its jobs that run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// The expression that gives the list.
    pub over: String,
}

/// What a step executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// As it is, no shell implied.
    Argv(Vec<String>),
    /// Given to `/bin/sh -eu -c`.
    Shell(String),
    /// Nothing is executed: the run goes on when it is passed.
    Gate(Gate),
}

/// Who or what lets a run go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Gate {
    /// So many different persons, none of whom started the run.
    Approval {
        /// 1 to [`crate::limits::APPROVERS_MAX`].
        approvers: u32,
    },
    /// An expression that has to come to true.
    Policy {
        /// CEL.
        expr: String,
    },
}

/// A file that a step leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenArtifact", into = "WrittenArtifact")]
pub struct ArtifactSpec {
    /// Where its bytes come from.
    pub from: ArtifactFrom,
    /// Name within the step.
    pub name: ArtifactName,
}

/// Where an artifact's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactFrom {
    /// The step's standard output.
    Stdout,
    /// A file below the work folder: relative, without `.` and `..`.
    Path(String),
}

/// `{"from":"stdout","name":…}` or `{"name":…,"path":…}`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenArtifact {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Stdout>,
    name: ArtifactName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stdout {
    Stdout,
}

impl TryFrom<WrittenArtifact> for ArtifactSpec {
    type Error = &'static str;

    fn try_from(written: WrittenArtifact) -> Result<Self, Self::Error> {
        let from = match (written.from, written.path) {
            (Some(Stdout::Stdout), None) => ArtifactFrom::Stdout,
            (None, Some(path)) => ArtifactFrom::Path(path),
            (Some(_), Some(_)) | (None, None) => return Err("an artifact has either from or path"),
        };
        Ok(ArtifactSpec {
            from,
            name: written.name,
        })
    }
}

impl From<ArtifactSpec> for WrittenArtifact {
    fn from(artifact: ArtifactSpec) -> Self {
        match artifact.from {
            ArtifactFrom::Stdout => WrittenArtifact {
                from: Some(Stdout::Stdout),
                name: artifact.name,
                path: None,
            },
            ArtifactFrom::Path(path) => WrittenArtifact {
                from: None,
                name: artifact.name,
                path: Some(path),
            },
        }
    }
}

/// A declared input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InputSpec {
    /// Taken when a run is given none. Without it the input must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its value is in no leaf: steps get it in their environment, and nothing else sees it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
    /// Its type.
    #[serde(rename = "type")]
    pub input_type: InputType,
}

/// Types of inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputType {
    /// Text.
    String,
    /// An integer within ±(2^53−1).
    Int,
    /// A truth value.
    Bool,
    /// A list of texts, integers and truth values.
    List,
}

/// What steps may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Nothing.
    None,
    /// The host itself.
    Loopback,
    /// What egress is configured; refused while sealed.
    Egress,
}

/// Whether a pack runs in sealed mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealedUse {
    /// In either mode.
    Allowed,
    /// Only unsealed.
    Forbidden,
    /// Only sealed.
    Required,
}
