//! stub
use super::canonical::Value;
use super::job::RetryPolicy;
use super::rejection::Rejection;
use super::{PackName, StepName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackSpec {
    pub max_parallel: Option<u32>,
    pub name: PackName,
    pub steps: Vec<StepSpec>,
    pub timeout_ms: Option<u64>,
}
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpec {
    pub always: bool,
    pub id: StepName,
    pub needs: Vec<StepName>,
    pub retries: RetryPolicy,
    pub timeout_ms: u64,
}
impl PackSpec {
    pub fn task(&self, _s: &StepSpec, _i: &BTreeMap<String, Value>) -> Value {
        Value::Null
    }
}
pub fn resolve_inputs(
    _s: &PackSpec,
    g: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, Rejection> {
    Ok(g.clone())
}
