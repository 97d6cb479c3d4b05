//! What is only known when a run comes to a step: its condition, its map, and `${{ }}` in what it executes.

use std::collections::BTreeMap;

use super::error::{Findings, PackCode};
use super::expression::{Part, ROOTS, References, check, parts};
use super::fields::{Cursor, Fields};
use super::node::Content;
use super::spec::{Action, Gate, InputSpec, MapSpec, StepSpec};
use super::step::{MAP_FIELDS, ReadStep};
use crate::limits;

/// An expression: what it looks at, and where it stands.
pub(super) type Found<'a> = (References, Cursor<'a>);

/// What was read of a step.
#[derive(Debug, Default)]
pub(super) struct Dynamic<'a> {
    pub(super) expressions: Vec<Found<'a>>,
    pub(super) map: Option<MapSpec>,
    /// What a policy gate asks.
    pub(super) policy: Option<String>,
    pub(super) when: Option<String>,
}

impl StepSpec {
    /// What it comes to is only known when all it needs has ended.
    pub fn is_dynamic(&self) -> bool {
        let filled = |text: &String| text.contains("${{");
        self.when.is_some()
            || self.map.is_some()
            || self.env.values().any(filled)
            || matches!(self.action, Action::Gate(_))
            || matches!(&self.action, Action::Argv(argv) if argv.iter().any(filled))
    }

    /// Something in it looks at steps before it.
    pub(super) fn looks_back(&self) -> bool {
        let item = self.map.as_ref().map(|map| map.item.as_str());
        let argv = match &self.action {
            Action::Argv(argv) => argv.as_slice(),
            Action::Shell(_) | Action::Gate(_) => &[],
        };
        let policy = match &self.action {
            Action::Gate(Gate::Policy { expr }) => Some(expr.as_str()),
            _ => None,
        };
        let mut texts = argv.iter().chain(self.env.values());
        let over = self.map.as_ref().map(|map| map.over.as_str());
        let mut whole = self.when.as_deref().into_iter().chain(over).chain(policy);
        whole.any(|source| looks_at_steps(source, None))
            || texts.any(|text| {
                parts(text).unwrap_or_default().iter().any(|part| match part {
                    Part::Expression(source) => looks_at_steps(source, item),
                    Part::Text(_) => false,
                })
            })
    }
}

pub(super) fn looks_at_steps(source: &str, item: Option<&str>) -> bool {
    check(source, item).is_ok_and(|references| !references.steps.is_empty())
}

pub(super) fn read_dynamic<'a>(fields: &Fields<'a>, log: &mut Findings) -> Dynamic<'a> {
    let mut dynamic = Dynamic::default();
    let when = fields.get("when");
    dynamic.when = when.and_then(|at| dynamic.read(&at, None, log));
    let expr = fields.get("expr");
    dynamic.policy = expr.and_then(|at| dynamic.read(&at, None, log));
    dynamic.map = fields.get("map").and_then(|at| dynamic.read_map(&at, log));
    let item = dynamic.map.as_ref().map(|map| map.item.clone());
    for name in ["run", "env"] {
        let Some(at) = fields.get(name) else { continue };
        let texts: Vec<Cursor<'a>> = match at.content() {
            Content::List(_) => at.items(usize::MAX, log).unwrap_or_default(),
            Content::Map(_) => {
                let members = at.members(usize::MAX, log).unwrap_or_default();
                members.into_iter().map(|member| member.value).collect()
            }
            _ => Vec::new(),
        };
        for text in texts {
            if let Content::Text(content) = text.content() {
                dynamic.read_parts(&text, content, item.as_deref(), log);
            }
        }
    }
    dynamic
}

impl<'a> Dynamic<'a> {
    fn read(&mut self, at: &Cursor<'a>, item: Option<&str>, log: &mut Findings) -> Option<String> {
        let source = at.text(log)?.trim();
        self.note(at, source, item, log);
        Some(source.to_owned())
    }

    fn note(&mut self, at: &Cursor<'a>, source: &str, item: Option<&str>, log: &mut Findings) {
        match check(source, item) {
            Ok(references) => self.expressions.push((references, at.clone())),
            Err(message) => log.add(at.error(PackCode::InvalidExpression, message)),
        }
    }

    fn read_parts(&mut self, at: &Cursor<'a>, text: &str, item: Option<&str>, log: &mut Findings) {
        match parts(text) {
            Ok(parts) => {
                for part in parts {
                    if let Part::Expression(source) = part {
                        self.note(at, source, item, log);
                    }
                }
            }
            Err(message) => log.add(at.error(PackCode::InvalidExpression, message)),
        }
    }

    fn read_map(&mut self, at: &Cursor<'a>, log: &mut Findings) -> Option<MapSpec> {
        let fields = at.fields(MAP_FIELDS, log)?;
        let over = fields.need("over", log).and_then(|at| self.read(&at, None, log));
        let item_at = fields.need("as", log)?;
        let item = item_at.text(log)?;
        let is_name = item.len() <= limits::NAME_BYTES_MAX
            && item.starts_with(|first: char| first.is_ascii_lowercase())
            && item
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && !ROOTS.contains(&item)
            && !["in", "true", "false", "null"].contains(&item);
        if !is_name {
            let message = "an item is named [a-z][a-z0-9_]{0,62}, and not as anything else in expressions";
            log.add(item_at.error(PackCode::InvalidName, message));
            return None;
        }
        let max_parallel = fields.optional("maxParallel", log, |at, log| {
            at.integer(1, limits::EXPRESSION_ITEMS_MAX as u32, log)
        });
        Some(MapSpec {
            item: item.to_owned(),
            max_parallel,
            over: over?,
        })
    }
}

/// Expressions look at declared inputs, and at steps that have ended when they are evaluated: those that the step needs.
pub(super) fn check_references(
    steps: &[ReadStep<'_>],
    inputs: &BTreeMap<String, InputSpec>,
    log: &mut Findings,
) {
    for step in steps {
        for (references, at) in &step.expressions {
            if let Some(unknown) = references.inputs.iter().find(|name| !inputs.contains_key(*name)) {
                let message = format!("there is no input {unknown}");
                log.add(at.error(PackCode::UnknownReference, message));
            }
            let is_sensitive = |name: &&String| inputs.get(*name).is_some_and(|input| input.sensitive);
            if let Some(name) = references.inputs.iter().find(is_sensitive) {
                let message = format!(
                    "the input {name} is sensitive: what expressions come to is recorded, so they cannot look at it; steps \
                     have it in their environment"
                );
                log.add(at.error(PackCode::InvalidExpression, message));
            }
            let is_needed = |name: &String| step.needs_at.iter().any(|(need, _)| need.as_str() == name);
            if let Some(unknown) = references.steps.iter().find(|name| !is_needed(name)) {
                let message = format!(
                    "{} looks at the step {unknown}, which is not among its needs",
                    step.id
                );
                log.add(at.error(PackCode::UnknownReference, message));
            }
        }
    }
}
