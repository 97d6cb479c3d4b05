//! What differs between two definitions: settings, inputs, and steps with the fields that changed. A pure comparison of the
//! normalised forms, so a spelling that normalises to the same is no difference.

use std::collections::BTreeMap;

use super::spec::PackSpec;
use crate::domain::canonical::{Value, parse, to_canonical};

/// From one definition to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackDiff {
    /// Declared inputs, by name.
    pub inputs: Named,
    /// Fields of the pack besides inputs and steps.
    pub settings: Vec<FieldDiff>,
    /// Steps, by id.
    pub steps: Named,
}

/// Things that have names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Only in the later one.
    pub added: Vec<String>,
    /// In both, and not the same.
    pub changed: Vec<(String, Vec<FieldDiff>)>,
    /// Only in the earlier one.
    pub removed: Vec<String>,
}

/// One field that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDiff {
    /// As the normalised definition names it, for example `timeoutMs` or `env/LC_ALL`.
    pub field: String,
    /// Before; none where it was not there.
    pub from: Option<Value>,
    /// After; none where it is no longer there.
    pub to: Option<Value>,
}

impl PackDiff {
    /// What it takes from `earlier` to `later`.
    pub fn between(earlier: &PackSpec, later: &PackSpec) -> PackDiff {
        let (mut earlier, mut later) = (members(earlier), members(later));
        let steps = Named::between(&steps_of(&mut earlier), &steps_of(&mut later));
        let inputs = Named::between(&inputs_of(&mut earlier), &inputs_of(&mut later));
        PackDiff {
            inputs,
            settings: fields(&earlier, &later),
            steps,
        }
    }
}

type Members = BTreeMap<String, Value>;

impl Named {
    fn between(earlier: &Members, later: &Members) -> Named {
        let only = |left: &Members, right: &Members| {
            let names = left.keys().filter(|name| !right.contains_key(*name));
            names.cloned().collect()
        };
        let changed = earlier.iter().filter_map(|(name, before)| {
            let after = later.get(name)?;
            (before != after).then(|| (name.clone(), fields(&object(before), &object(after))))
        });
        Named {
            added: only(later, earlier),
            changed: changed.collect(),
            removed: only(earlier, later),
        }
    }
}

/// The definition as the members of its canonical form.
fn members(spec: &PackSpec) -> Members {
    parse(&to_canonical(spec)).map_or_else(|_| Members::new(), |value| object(&value))
}

fn object(value: &Value) -> Members {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::String(_) | Value::Array(_) => Members::new(),
    }
}

fn steps_of(spec: &mut Members) -> Members {
    let Some(Value::Array(steps)) = spec.remove("steps") else {
        return Members::new();
    };
    let named = steps
        .into_iter()
        .filter_map(|step| match object(&step).get("id") {
            Some(Value::String(id)) => Some((id.clone(), step)),
            _ => None,
        });
    named.collect()
}

fn inputs_of(spec: &mut Members) -> Members {
    spec.remove("inputs")
        .map_or_else(Members::new, |inputs| object(&inputs))
}

/// Objects within are compared member by member, so that one variable of an environment is one difference.
fn fields(earlier: &Members, later: &Members) -> Vec<FieldDiff> {
    let mut names: Vec<&String> = earlier.keys().chain(later.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let mut found = Vec::new();
    for name in names {
        match (earlier.get(name), later.get(name)) {
            (before, after) if before == after => {}
            (Some(before @ Value::Object(_)), Some(after @ Value::Object(_))) => {
                let inner = fields(&object(before), &object(after));
                found.extend(inner.into_iter().map(|diff| FieldDiff {
                    field: format!("{name}/{}", diff.field),
                    ..diff
                }));
            }
            (before, after) => found.push(FieldDiff {
                field: name.clone(),
                from: before.cloned(),
                to: after.cloned(),
            }),
        }
    }
    found
}
