//! What an idempotency key is bound to: tenant, person, route, the key itself, and the request without the values of redacted
//! fields.
//!
//! Promises: nothing can be learnt about such a value by sending guesses, nor by comparing what is recorded of two requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use crate::domain::canonical::{Intake, Value, write};
use crate::domain::idempotency::Idempotency;
use crate::domain::redaction::{Pointer, Policy, blank};
use crate::domain::state::View;
use crate::domain::{PackName, TenantName};

/// Names the form of what is authenticated.
const FORM: &[u8] = b"fastness request v2";

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Binds the keys of one caller's requests.
#[derive(Debug)]
pub struct Binding {
    api: Arc<Api>,
    tenant: TenantName,
    person: String,
    /// What the tenant takes out of payloads.
    policy: Option<Arc<Policy>>,
    /// What the pack of the request calls sensitive.
    inputs: BTreeSet<String>,
}

impl Binding {
    /// For requests of a caller; `body` is that of a single one.
    ///
    /// # Errors
    /// What the projection said.
    pub async fn find(api: &Arc<Api>, caller: &Caller, body: Option<&Intake>) -> Result<Self, ApiError> {
        let inputs = match body.and_then(pack_of) {
            Some((name, version)) => {
                let read = api.read(caller.tenant()?, move |reading| {
                    sensitive_inputs(reading.view().as_ref(), &name, version)
                });
                read.await?
            }
            None => BTreeSet::new(),
        };
        let policy = api.engine().intake_policy(caller.tenant()?);
        Ok(Binding {
            api: api.clone(),
            tenant: caller.tenant()?.clone(),
            person: caller.token.person.clone(),
            policy,
            inputs,
        })
    }

    /// Binds a key to a route and a body.
    pub fn bind(&self, route: &str, key: &str, body: &Intake) -> Idempotency {
        let compared = self.compared(body);
        let parts = [
            FORM,
            self.tenant.as_str().as_bytes(),
            self.person.as_bytes(),
            route.as_bytes(),
            key.as_bytes(),
            &compared,
        ];
        let mut message = Vec::with_capacity(compared.len() + 256);
        for part in parts {
            message.extend_from_slice(&(part.len() as u64).to_be_bytes());
            message.extend_from_slice(part);
        }
        Idempotency {
            body: self.api.engine().keys().idempotency().authenticate(&message),
            key: key.to_owned(),
            route: route.to_owned(),
        }
    }

    /// The members of a request, each with its length, without the values of redacted fields.
    fn compared(&self, body: &Intake) -> Vec<u8> {
        let bytes = body.bytes();
        match serde_json::from_slice::<Members<'_>>(&bytes) {
            Ok(members) => self.members(&members),
            // Whatever it is, no handler takes it.
            Err(_) => bytes.into_owned(),
        }
    }

    fn members(&self, members: &Members<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, raw) in members {
            let value = match name.as_str() {
                "payload" => self.payload(members, raw),
                "inputs" => self.inputs(raw),
                "jobs" => self.jobs(raw),
                _ => raw.get().as_bytes().to_vec(),
            };
            put(&mut out, name.as_bytes());
            put(&mut out, &value);
        }
        out
    }

    fn jobs(&self, raw: &RawValue) -> Vec<u8> {
        let Ok(jobs) = serde_json::from_str::<Vec<Members<'_>>>(raw.get()) else {
            return raw.get().as_bytes().to_vec();
        };
        let mut out = Vec::new();
        for job in &jobs {
            put(&mut out, &self.members(job));
        }
        out
    }

    fn payload(&self, members: &Members<'_>, raw: &RawValue) -> Vec<u8> {
        let text = |name: &str| members.get(name).map(|raw| raw.get());
        let named: Vec<String> = text("sensitive")
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let mut pointers: BTreeSet<Pointer> = named.iter().filter_map(|text| text.parse().ok()).collect();
        let job_type: Option<String> = text("type").and_then(|text| serde_json::from_str(text).ok());
        if let (Some(policy), Some(job_type)) = (&self.policy, &job_type) {
            pointers.extend(policy.pointers(job_type).cloned());
        }
        // From a payload that is kept as text nothing is taken out: where something should be, it is refused.
        match Intake::parse(raw.get().as_bytes()) {
            Ok(Intake::Value(mut value)) => {
                blank(&mut value, &pointers);
                write(&value)
            }
            Ok(Intake::Text(_)) | Err(_) => raw.get().as_bytes().to_vec(),
        }
    }

    fn inputs(&self, raw: &RawValue) -> Vec<u8> {
        match Intake::parse(raw.get().as_bytes()) {
            Ok(Intake::Value(Value::Object(mut inputs))) => {
                for (_, value) in inputs.iter_mut().filter(|(name, _)| self.inputs.contains(*name)) {
                    *value = Value::Null;
                }
                write(&Value::Object(inputs))
            }
            Ok(_) | Err(_) => raw.get().as_bytes().to_vec(),
        }
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The pack of a request that starts a run of one, and its version where one is named.
fn pack_of(body: &Intake) -> Option<(PackName, Option<u32>)> {
    #[derive(serde::Deserialize)]
    struct OfPack {
        pack: PackName,
        version: Option<u32>,
    }
    let of: OfPack = serde_json::from_slice(&body.bytes()).ok()?;
    Some((of.pack, of.version))
}

fn sensitive_inputs(
    view: &dyn View,
    name: &PackName,
    version: Option<u32>,
) -> Result<BTreeSet<String>, ApiError> {
    let version = match version {
        Some(version) => Some(version),
        None => view.pack_head(name)?,
    };
    let Some(pack) = version
        .map(|version| view.pack(name, version))
        .transpose()?
        .flatten()
    else {
        return Ok(BTreeSet::new());
    };
    let sensitive = pack.spec.inputs.iter().filter(|(_, input)| input.sensitive);
    Ok(sensitive.map(|(name, _)| name.clone()).collect())
}
