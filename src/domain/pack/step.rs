//! The steps of a pack file.

use super::dynamic::{Found, read_dynamic};
use super::error::{Findings, PackCode};
use super::fields::{Cursor, Fields};
use super::read::{Interpolation, parse_name, read_description, read_env, read_secrets, refuse_expression};
use super::spec::{Action, ArtifactFrom, ArtifactSpec, Gate, StepSpec};
use super::units::{duration_ms, size_bytes};
use crate::domain::job::{Backoff, Jitter, RetryPolicy};
use crate::domain::{ArtifactName, StepName};
use crate::limits;

pub(super) const STEP_FIELDS: &[&str] = &[
    "always",
    "approvers",
    "artifacts",
    "description",
    "env",
    "expr",
    "gate",
    "id",
    "limits",
    "map",
    "needs",
    "retries",
    "run",
    "secrets",
    "shell",
    "timeout",
    "when",
];
pub(super) const RETRY_FIELDS: &[&str] = &["backoff", "cap", "initial", "jitter", "max"];
pub(super) const LIMIT_FIELDS: &[&str] = &["cpuMillis", "memory", "output", "pids"];
pub(super) const MAP_FIELDS: &[&str] = &["as", "maxParallel", "over"];
pub(super) const ARTIFACT_FIELDS: &[&str] = &["from", "name", "path"];

/// A step and the places that later checks point at.
#[derive(Debug)]
pub(super) struct ReadStep<'a> {
    pub(super) id: StepName,
    pub(super) id_at: Cursor<'a>,
    /// None when something in it is a finding.
    pub(super) spec: Option<StepSpec>,
    /// In the order of the source; those of the definition are sorted.
    pub(super) needs_at: Vec<(StepName, Cursor<'a>)>,
    /// Its expressions: what they look at, and where they stand.
    pub(super) expressions: Vec<Found<'a>>,
}

pub(super) fn read_steps<'a>(at: &Cursor<'a>, log: &mut Findings) -> Option<Vec<ReadStep<'a>>> {
    let items = at.items(limits::RUN_JOBS_MAX, log)?;
    if items.is_empty() {
        log.add(at.error(PackCode::InvalidValue, "a pack has at least one step"));
        return None;
    }
    Some(items.iter().filter_map(|item| read_step(item, log)).collect())
}

fn read_step<'a>(at: &Cursor<'a>, log: &mut Findings) -> Option<ReadStep<'a>> {
    let fields = at.fields(STEP_FIELDS, log)?;
    let id = fields
        .need("id", log)
        .and_then(|at| parse_step_name(&at, log).map(|id| (id, at)));
    let dynamic = read_dynamic(&fields, log);
    let action = read_action(&fields, dynamic.policy.as_deref(), log);
    let needs_at = fields.optional("needs", log, read_needs).unwrap_or_default();
    let mut needs: Vec<StepName> = needs_at.iter().map(|(name, _)| name.clone()).collect();
    needs.sort();
    let always = fields.optional("always", log, Cursor::truth).unwrap_or(false);
    let description = read_description(&fields, log);
    let env = fields
        .optional("env", log, |at, log| read_env(at, Interpolation::Filled, log))
        .unwrap_or_default();
    let artifacts = fields
        .optional("artifacts", log, read_artifacts)
        .unwrap_or_default();
    let retries = fields.optional("retries", log, read_retries).unwrap_or_default();
    let secrets = fields.optional("secrets", log, read_secrets).unwrap_or_default();
    let timeout_ms = fields.optional("timeout", log, |at, log| {
        duration_ms(at, (limits::TIMEOUT_MS_MIN, limits::TIMEOUT_MS_MAX), log)
    });
    let output_bytes_max = fields.optional("limits", log, read_limits).flatten();
    let (id, id_at) = id?;
    let spec = action.map(|action| StepSpec {
        action,
        always,
        artifacts,
        description,
        env,
        id: id.clone(),
        map: dynamic.map,
        needs,
        output_bytes_max: output_bytes_max.unwrap_or(limits::STEP_LOG_BYTES_MAX),
        retries,
        secrets,
        timeout_ms: timeout_ms.unwrap_or(limits::TIMEOUT_MS_DEFAULT),
        when: dynamic.when,
    });
    Some(ReadStep {
        id,
        id_at,
        spec,
        needs_at,
        expressions: dynamic.expressions,
    })
}

/// `name[3]` is the name of a mapped job, never of a step.
fn parse_step_name(at: &Cursor<'_>, log: &mut Findings) -> Option<StepName> {
    let name: StepName = parse_name(at, log)?;
    if name.as_str().ends_with(']') {
        log.add(at.error(PackCode::InvalidName, "a step is named [a-z0-9][a-z0-9-]{0,62}"));
        return None;
    }
    Some(name)
}

fn read_action(fields: &Fields<'_>, policy: Option<&str>, log: &mut Findings) -> Option<Action> {
    match (fields.get("run"), fields.get("shell"), fields.get("gate")) {
        (Some(run), None, None) => {
            refuse_gate_fields(fields, log);
            read_argv(&run, log).map(Action::Argv)
        }
        (None, Some(shell), None) => {
            refuse_gate_fields(fields, log);
            read_shell(&shell, log).map(Action::Shell)
        }
        (None, None, Some(_)) => read_gate(fields, policy, log).map(Action::Gate),
        _ => {
            log.add(fields.at.error(
                PackCode::OneAction,
                "a step has exactly one of run, shell and gate",
            ));
            None
        }
    }
}

/// What only steps that execute something have.
const WORK_FIELDS: [&str; 7] = [
    "artifacts",
    "env",
    "limits",
    "map",
    "retries",
    "secrets",
    "timeout",
];

#[derive(Clone, Copy)]
enum GateKind {
    Approval,
    Policy,
}

fn read_gate(fields: &Fields<'_>, policy: Option<&str>, log: &mut Findings) -> Option<Gate> {
    for name in WORK_FIELDS {
        if let Some(at) = fields.get(name) {
            let message = format!("{name} belongs to a step that executes something, not to a gate");
            log.add(at.error(PackCode::InvalidValue, message));
        }
    }
    let kinds = [("approval", GateKind::Approval), ("policy", GateKind::Policy)];
    let kind = fields.word("gate", &kinds, log)?;
    let foreign = match kind {
        GateKind::Approval => "expr",
        GateKind::Policy => "approvers",
    };
    if let Some(at) = fields.get(foreign) {
        log.add(at.error(
            PackCode::InvalidValue,
            format!("{foreign} belongs to the other kind of gate"),
        ));
    }
    match kind {
        GateKind::Approval => {
            let approvers = fields.optional("approvers", log, |at, log| {
                at.integer(1, limits::APPROVERS_MAX, log)
            });
            Some(Gate::Approval {
                approvers: approvers.unwrap_or(1),
            })
        }
        GateKind::Policy => {
            fields.need("expr", log)?;
            Some(Gate::Policy {
                expr: policy?.to_owned(),
            })
        }
    }
}

fn refuse_gate_fields(fields: &Fields<'_>, log: &mut Findings) {
    for name in ["approvers", "expr"] {
        if let Some(at) = fields.get(name) {
            log.add(at.error(PackCode::InvalidValue, format!("{name} belongs to a gate")));
        }
    }
}

fn read_argv(at: &Cursor<'_>, log: &mut Findings) -> Option<Vec<String>> {
    let mut argv = Vec::new();
    for item in at.items(limits::ARGV_ITEMS_MAX, log)? {
        let Some(argument) = item.bounded_text(limits::ARGUMENT_BYTES_MAX, log) else {
            continue;
        };
        argv.push(argument.to_owned());
    }
    if argv.first().is_none_or(String::is_empty) && log.is_empty() {
        log.add(at.error(PackCode::InvalidValue, "run starts with the program"));
        return None;
    }
    Some(argv)
}

fn read_shell(at: &Cursor<'_>, log: &mut Findings) -> Option<String> {
    let text = at.bounded_text(limits::ARGUMENT_BYTES_MAX, log)?;
    if text.trim().is_empty() {
        log.add(at.error(PackCode::InvalidValue, "the shell text is empty"));
    }
    if text.contains("${{") {
        let message = "${{ }} inside shell could inject commands; inputs are there as $INPUT_<NAME>";
        log.add(at.error(PackCode::InterpolationInShell, message));
    }
    Some(text.to_owned())
}

fn read_needs<'a>(at: &Cursor<'a>, log: &mut Findings) -> Option<Vec<(StepName, Cursor<'a>)>> {
    let mut needs: Vec<(StepName, Cursor<'a>)> = Vec::new();
    for item in at.items(limits::RUN_JOBS_MAX, log)? {
        let Some(name) = parse_step_name(&item, log) else {
            continue;
        };
        needs.push((name, item));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (name, item) in &needs {
        if !seen.insert(name) {
            log.add(item.error(
                PackCode::DuplicateName,
                format!("{name} stands twice among the needs"),
            ));
        }
    }
    Some(needs)
}

fn read_artifacts(at: &Cursor<'_>, log: &mut Findings) -> Option<Vec<ArtifactSpec>> {
    let mut artifacts: Vec<ArtifactSpec> = Vec::new();
    for item in at.items(limits::ARTIFACTS_PER_STEP_MAX, log)? {
        let Some(artifact) = read_artifact(&item, log) else {
            continue;
        };
        if artifacts.iter().any(|other| other.name == artifact.name) {
            let message = format!("the artifact {} stands twice in this step", artifact.name);
            log.add(item.error(PackCode::DuplicateName, message));
        }
        artifacts.push(artifact);
    }
    Some(artifacts)
}

fn read_artifact(at: &Cursor<'_>, log: &mut Findings) -> Option<ArtifactSpec> {
    let fields = at.fields(ARTIFACT_FIELDS, log)?;
    let name: Option<ArtifactName> = fields.need("name", log).and_then(|at| parse_name(&at, log));
    let from = match (fields.get("from"), fields.get("path")) {
        (Some(_), None) => fields
            .word("from", &[("stdout", ArtifactSource::Stdout)], log)
            .map(|word| match word {
                ArtifactSource::Stdout => ArtifactFrom::Stdout,
            }),
        (None, Some(path)) => read_relative_path(&path, log).map(ArtifactFrom::Path),
        (Some(_), Some(_)) | (None, None) => {
            log.add(at.error(
                PackCode::InvalidValue,
                "an artifact has either from: stdout or a path",
            ));
            None
        }
    };
    Some(ArtifactSpec {
        from: from?,
        name: name?,
    })
}

#[derive(Clone, Copy)]
enum ArtifactSource {
    Stdout,
}

fn read_relative_path(at: &Cursor<'_>, log: &mut Findings) -> Option<String> {
    let path = at.bounded_text(limits::PATH_BYTES_MAX, log)?;
    refuse_expression(at, path, log);
    if path
        .split('/')
        .any(|part| part.is_empty() || part == "." || part == "..")
    {
        let message = "a path is relative to the work folder, without . and .. and empty parts";
        log.add(at.error(PackCode::InvalidPath, message));
        return None;
    }
    Some(path.to_owned())
}

fn read_retries(at: &Cursor<'_>, log: &mut Findings) -> Option<RetryPolicy> {
    let fields = at.fields(RETRY_FIELDS, log)?;
    let bounds = (limits::RETRY_DELAY_MS_MIN, limits::RETRY_DELAY_MS_MAX);
    let default = RetryPolicy::default();
    let shapes = [("exponential", Backoff::Exponential), ("fixed", Backoff::Fixed)];
    let backoff = fields.word("backoff", &shapes, log).unwrap_or(default.backoff);
    let jitter = fields.word("jitter", &[("full", Jitter::Full), ("none", Jitter::None)], log);
    let initial_ms = fields.optional("initial", log, |at, log| duration_ms(at, bounds, log));
    let initial_ms = initial_ms.unwrap_or(default.initial_ms);
    let cap_ms = fields.optional("cap", log, |at, log| duration_ms(at, bounds, log));
    if cap_ms.is_some_and(|cap_ms| cap_ms < initial_ms) {
        log.add(at.error(PackCode::OutOfRange, "cap is at least initial"));
    }
    let max = fields.optional("max", log, |at, log| at.integer(0, limits::RETRIES_MAX, log));
    Some(RetryPolicy {
        backoff,
        cap_ms: cap_ms.unwrap_or(default.cap_ms.max(initial_ms)),
        initial_ms,
        jitter: jitter.unwrap_or(default.jitter),
        max: max.unwrap_or(default.max),
    })
}

/// The bound on output; the others need the sandbox.
fn read_limits(at: &Cursor<'_>, log: &mut Findings) -> Option<Option<u64>> {
    let fields = at.fields(LIMIT_FIELDS, log)?;
    for name in ["cpuMillis", "memory", "pids"] {
        fields.not_yet(name, &format!("limits.{name}"), log);
    }
    Some(fields.optional("output", log, |at, log| {
        size_bytes(at, (limits::STEP_LOG_BYTES_MIN, limits::STEP_LOG_BYTES_MAX), log)
    }))
}
