//! What an order holds, made ready to be started: packs read, inputs held against what their packs declare.
//!
//! The hub does this before it signs, and the enclave before it believes: with the same function.

use std::collections::BTreeMap;

use super::manifest::OrderPredicate;
use super::members::OrderMember;
use crate::domain::canonical::{self, Value};
use crate::domain::command::{OrderContent, OrderRun, RegisterPack};
use crate::domain::pack::{PackSpec, plan_hash, resolve_inputs};
use crate::domain::{Digest, PackName};
use crate::limits;

/// Why members do not make what the statement says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{member}: {detail}")]
pub struct ContentError {
    /// The member.
    pub member: OrderMember,
    /// What is wrong with it.
    pub detail: String,
}

fn bad(member: OrderMember, detail: impl Into<String>) -> ContentError {
    ContentError {
        member,
        detail: detail.into(),
    }
}

/// Reads the packs and inputs of an order.
///
/// # Errors
/// The first member that is not what the statement says it is.
pub fn content_of(
    order: &OrderPredicate,
    members: &BTreeMap<OrderMember, Vec<u8>>,
) -> Result<OrderContent, ContentError> {
    let bytes_of = |member: OrderMember| {
        let found = members.get(&member);
        found
            .map(Vec::as_slice)
            .ok_or_else(|| bad(member, "it is missing"))
    };
    let mut packs: Vec<RegisterPack> = Vec::with_capacity(order.packs.len());
    let mut bytes = 0;
    for carried in &order.packs {
        let member = OrderMember::Pack(carried.sha256);
        let pack = read_pack(member, bytes_of(member)?)?;
        if pack.spec.name != carried.name {
            let detail = format!("it is the pack {}, not {}", pack.spec.name, carried.name);
            return Err(bad(member, detail));
        }
        if pack.plan_hash != carried.plan_hash {
            let detail = format!(
                "its plan is {}, and the order says {}",
                pack.plan_hash, carried.plan_hash
            );
            return Err(bad(member, detail));
        }
        bytes += pack.source.len();
        packs.push(pack);
    }
    if bytes > limits::ORDER_PACKS_BYTES_MAX {
        let detail = format!(
            "all packs of an order have at most {} bytes",
            limits::ORDER_PACKS_BYTES_MAX
        );
        return Err(bad(OrderMember::Manifest, detail));
    }
    let mut runs = Vec::with_capacity(order.runs.len());
    for asked in &order.runs {
        let (member, inputs) = match asked.inputs {
            None => (OrderMember::Manifest, BTreeMap::new()),
            Some(digest) => {
                let member = OrderMember::Inputs(digest);
                (member, read_inputs(member, bytes_of(member)?)?)
            }
        };
        let of = |name: &PackName| packs.iter().find(|pack| pack.spec.name == *name);
        let pack = of(&asked.pack).ok_or_else(|| bad(member, format!("no pack {}", asked.pack)))?;
        resolve_inputs(&pack.spec, &inputs).map_err(|refused| {
            let detail = format!("the run {}: {}", asked.name, refused.detail);
            bad(member, detail)
        })?;
        runs.push(OrderRun {
            inputs,
            name: asked.name.clone(),
            pack: asked.pack.clone(),
        });
    }
    Ok(OrderContent { packs, runs })
}

/// A pack out of its bytes.
pub(super) fn read_pack(member: OrderMember, bytes: &[u8]) -> Result<RegisterPack, ContentError> {
    let spec = PackSpec::parse(bytes).map_err(|errors| {
        let first = errors.all().first().map(ToString::to_string);
        bad(member, first.unwrap_or_else(|| "it is no pack".to_owned()))
    })?;
    let source = String::from_utf8(bytes.to_vec()).map_err(|_| bad(member, "a pack's source is UTF-8"))?;
    Ok(RegisterPack {
        plan_hash: plan_hash(&spec),
        source,
        spec,
    })
}

/// The bytes of inputs, and how the statement names them; none for none.
pub(super) fn inputs_of(inputs: &BTreeMap<String, Value>) -> Option<(Digest, Vec<u8>)> {
    if inputs.is_empty() {
        return None;
    }
    let bytes = canonical::write(&Value::Object(inputs.clone()));
    Some((Digest::of(&bytes), bytes))
}

fn read_inputs(member: OrderMember, bytes: &[u8]) -> Result<BTreeMap<String, Value>, ContentError> {
    match canonical::check(bytes) {
        Ok(Value::Object(inputs)) if !inputs.is_empty() => Ok(inputs),
        Ok(_) => Err(bad(member, "inputs are an object with members")),
        Err(error) => Err(bad(member, error.to_string())),
    }
}
