//! The pack file as a whole: from the tree to the normalised definition.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::dynamic::check_references;
use super::error::{Findings, PackCode, PackErrors};
use super::fields::{Cursor, Fields};
use super::graph::check_graph;
use super::inputs::read_inputs;
use super::node::read_source;
use super::spec::{Network, PackSpec, SealedUse};
use super::step::read_steps;
use super::units::duration_ms;
use crate::domain::redaction::DIGESTS;
use crate::domain::{PackName, SecretName};
use crate::limits;

const DOCUMENT_FIELDS: &[&str] = &["apiVersion", "kind", "metadata", "spec"];
const METADATA_FIELDS: &[&str] = &["description", "name"];
const SPEC_FIELDS: &[&str] = &[
    "env",
    "facts",
    "inputs",
    "maxParallel",
    "network",
    "reads",
    "sealed",
    "secrets",
    "steps",
    "timeout",
];

/// Every mapping of the format and its fields; the published schema has exactly these.
#[cfg(test)]
pub(super) const FORMAT: &[(&str, &[&str])] = &[
    ("document", DOCUMENT_FIELDS),
    ("metadata", METADATA_FIELDS),
    ("spec", SPEC_FIELDS),
    ("input", super::inputs::INPUT_FIELDS),
    ("step", super::step::STEP_FIELDS),
    ("retries", super::step::RETRY_FIELDS),
    ("limits", super::step::LIMIT_FIELDS),
    ("artifact", super::step::ARTIFACT_FIELDS),
    ("map", super::step::MAP_FIELDS),
];

impl PackSpec {
    /// Reads, checks and normalises a pack source, YAML or JSON.
    ///
    /// # Errors
    /// Everything found wrong, in the order of the source; what is wrong with the syntax alone is one finding.
    pub fn parse(source: &[u8]) -> Result<PackSpec, PackErrors> {
        let root = read_source(source)?;
        let mut log = Findings::default();
        let document = Cursor::root(&root);
        let spec = read_document(&document, source.len(), &mut log);
        match spec {
            Some(spec) if log.is_empty() => Ok(spec),
            None if log.is_empty() => Err(document.error(PackCode::InvalidValue, "this is no pack").into()),
            Some(_) | None => Err(log.into_errors()),
        }
    }
}

fn read_document(document: &Cursor<'_>, source_bytes: usize, log: &mut Findings) -> Option<PackSpec> {
    let fields = document.fields(DOCUMENT_FIELDS, log)?;
    read_constant(&fields, "apiVersion", "fastness/v1", log);
    read_constant(&fields, "kind", "Pack", log);
    let metadata = fields
        .need("metadata", log)
        .and_then(|at| at.fields(METADATA_FIELDS, log));
    let name = metadata.as_ref().and_then(|metadata| {
        let at = metadata.need("name", log)?;
        let name = parse_name::<PackName>(&at, log)?;
        if name.is_ordered() {
            let detail = "names with order/ before them are given to packs of work orders alone";
            log.add(at.error(PackCode::InvalidName, detail));
            return None;
        }
        Some(name)
    });
    let description = metadata
        .as_ref()
        .and_then(|metadata| read_description(metadata, log));
    let spec = fields.need("spec", log)?.fields(SPEC_FIELDS, log)?;
    spec.optional("facts", log, |at, log| refuse_items(at, "host facts", log));
    let env = spec
        .optional("env", log, |at, log| read_env(at, Interpolation::Refused, log))
        .unwrap_or_default();
    let inputs = spec.optional("inputs", log, read_inputs).unwrap_or_default();
    let max_parallel = spec.optional("maxParallel", log, |at, log| {
        at.integer(1, limits::RUN_JOBS_MAX as u32, log)
    });
    let network = read_network(&spec, log);
    let sealed = read_sealed(&spec, log);
    let reads = spec.optional("reads", log, read_paths).unwrap_or_default();
    let secrets = spec.optional("secrets", log, read_secrets).unwrap_or_default();
    let timeout_ms = spec.optional("timeout", log, |at, log| {
        duration_ms(at, (limits::TIMEOUT_MS_MIN, limits::TIMEOUT_MS_MAX), log)
    });
    let steps_at = spec.need("steps", log)?;
    let read = read_steps(&steps_at, log)?;
    check_graph(&read, log);
    check_references(&read, &inputs, log);
    let steps: Vec<_> = read.into_iter().map(|step| step.spec).collect::<Option<_>>()?;
    // Each task carries the pack's environment; together they have to fit the batch that starts a run.
    let env_bytes: usize = env.iter().map(|(name, value)| name.len() + value.len()).sum();
    if env_bytes * steps.len() + source_bytes > limits::RUN_TASKS_BYTES_MAX {
        log.add(steps_at.error(
            PackCode::TooLarge,
            "the pack's env, repeated for every step, is too large",
        ));
    }
    Some(PackSpec {
        description,
        env,
        inputs,
        max_parallel,
        name: name?,
        network,
        reads,
        sealed,
        secrets,
        steps,
        timeout_ms,
    })
}

fn read_constant(fields: &Fields<'_>, name: &str, expected: &str, log: &mut Findings) {
    let Some(at) = fields.need(name, log) else { return };
    if at.text(log).is_some_and(|text| text != expected) {
        log.add(at.error(PackCode::InvalidValue, format!("{name} is {expected}")));
    }
}

fn refuse_items(at: &Cursor<'_>, what: &str, log: &mut Findings) -> Option<()> {
    if !at.items(limits::READS_MAX, log)?.is_empty() {
        at.not_supported(what, log);
    }
    Some(())
}

fn read_network(spec: &Fields<'_>, log: &mut Findings) -> Network {
    let words = [
        ("none", Network::None),
        ("loopback", Network::Loopback),
        ("egress", Network::Egress),
    ];
    let network = spec.word("network", &words, log).unwrap_or(Network::None);
    match network {
        Network::None => {}
        Network::Loopback | Network::Egress => spec.not_yet("network", "steps that use the network", log),
    }
    network
}

fn read_sealed(spec: &Fields<'_>, log: &mut Findings) -> SealedUse {
    let words = [
        ("allowed", SealedUse::Allowed),
        ("required", SealedUse::Required),
        ("forbidden", SealedUse::Forbidden),
    ];
    let sealed = spec.word("sealed", &words, log).unwrap_or(SealedUse::Allowed);
    match sealed {
        SealedUse::Allowed | SealedUse::Forbidden => {}
        SealedUse::Required => spec.not_yet("sealed", "packs that must run sealed", log),
    }
    sealed
}

fn read_paths(at: &Cursor<'_>, log: &mut Findings) -> Option<Vec<String>> {
    let mut paths = Vec::new();
    for item in at.items(limits::READS_MAX, log)? {
        let Some(path) = item.bounded_text(limits::PATH_BYTES_MAX, log) else {
            continue;
        };
        if path.starts_with('/') && path.split('/').all(|part| part != "." && part != "..") {
            paths.push(path.to_owned());
        } else {
            log.add(item.error(
                PackCode::InvalidPath,
                "an absolute path without . and .. is needed here",
            ));
        }
    }
    paths.sort();
    paths.dedup();
    Some(paths)
}

/// Names of secrets. Whether they are there is looked at when a run starts.
pub(super) fn read_secrets(at: &Cursor<'_>, log: &mut Findings) -> Option<Vec<SecretName>> {
    let items = at.items(limits::READS_MAX, log)?;
    let names = items.iter().filter_map(|item| parse_name(item, log));
    let mut names: Vec<SecretName> = names.collect();
    names.sort();
    names.dedup();
    Some(names)
}

pub(super) fn read_description(fields: &Fields<'_>, log: &mut Findings) -> Option<String> {
    fields.optional("description", log, |at, log| {
        at.bounded_text(limits::TEXT_BYTES_MAX, log).map(str::to_owned)
    })
}

/// Whether a text may hold `${{ }}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interpolation {
    /// It is filled in for each run; what stands in it is checked elsewhere.
    Filled,
    /// It is the same for each run.
    Refused,
}

/// Environment variables: names of the usual form, values as text.
pub(super) fn read_env(
    at: &Cursor<'_>,
    interpolation: Interpolation,
    log: &mut Findings,
) -> Option<BTreeMap<String, String>> {
    let mut env = BTreeMap::new();
    for member in at.members(limits::ENV_VARIABLES_MAX, log)? {
        let name = member.name();
        if !is_env_name(name) {
            let message =
                "a variable is named [A-Za-z_][A-Za-z0-9_]{0,63}; FASTNESS_, INPUT_ and _sd are reserved";
            log.add(member.error(PackCode::InvalidName, message));
        }
        let Some(value) = member
            .value
            .bounded_text(limits::ARGUMENT_BYTES_MAX - name.len() - 1, log)
        else {
            continue;
        };
        if interpolation == Interpolation::Refused {
            refuse_expression(&member.value, value, log);
        }
        env.insert(name.to_owned(), value.to_owned());
    }
    Some(env)
}

/// Some texts are the same for each run.
pub(super) fn refuse_expression(at: &Cursor<'_>, text: &str, log: &mut Findings) {
    if text.contains("${{") {
        let message = "${{ }} stands in the run and env of steps only";
        log.add(at.error(PackCode::InvalidExpression, message));
    }
}

fn is_env_name(name: &str) -> bool {
    name.len() <= limits::JSON_KEY_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name != DIGESTS
        && !name.starts_with("FASTNESS_")
        && !name.starts_with("INPUT_")
}

/// A name of one of the checked types.
pub(super) fn parse_name<T>(at: &Cursor<'_>, log: &mut Findings) -> Option<T>
where
    T: FromStr<Err: std::fmt::Display>,
{
    match at.text(log)?.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            log.add(at.error(PackCode::InvalidName, T::Err::to_string(&error)));
            None
        }
    }
}
