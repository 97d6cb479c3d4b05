//! Events as CloudEvents 1.0, in the JSON format. The canonical envelope is `data`, byte for byte.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::{Digest, Seq, TenantName};
use crate::trust::EnclaveId;

#[derive(Serialize)]
struct CloudEvent<'a> {
    data: &'a RawValue,
    datacontenttype: &'static str,
    id: String,
    ledgerhash: &'a Digest,
    source: String,
    specversion: &'static str,
    time: &'a str,
    #[serde(rename = "type")]
    type_name: &'a str,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    at: Cow<'a, str>,
    seq: Seq,
    #[serde(rename = "type", borrow)]
    type_name: Cow<'a, str>,
}

/// Names a ledger.
pub fn source(enclave: &EnclaveId, tenant: &TenantName) -> String {
    format!("urn:fastness:ledger:{}:{tenant}", enclave.as_str())
}

/// What is sent of an event; nothing where it cannot be read, which is told in the log.
pub fn encode(enclave: &EnclaveId, tenant: &TenantName, event: &[u8], leaf: &Digest, out: &mut Vec<u8>) {
    let write = |out: &mut Vec<u8>| -> Result<(), serde_json::Error> {
        let head: Head<'_> = serde_json::from_slice(event)?;
        let event = CloudEvent {
            data: serde_json::from_slice(event)?,
            datacontenttype: "application/json",
            id: head.seq.to_string(),
            ledgerhash: leaf,
            source: source(enclave, tenant),
            specversion: "1.0",
            time: &head.at,
            type_name: &head.type_name,
        };
        serde_json::to_writer(out, &event)
    };
    if let Err(error) = write(out) {
        tracing::error!(%tenant, %leaf, %error, "an event cannot be read");
        out.clear();
    }
}
