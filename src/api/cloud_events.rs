//! Events as CloudEvents 1.0, in the JSON format: what any consumer of such events can take.
//!
//! The canonical envelope is `data`, byte for byte, and its leaf hash stands beside it as `ledgerhash`: who has the ledger
//! can check what came this way. The body is itself canonical JSON: one event always gives the same bytes, however it is
//! sent. `docs/streams.md` has the table of attributes.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::domain::event::Subject;
use crate::domain::{Digest, Seq, TenantName};
use crate::trust::EnclaveId;

/// The media type of one.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The media type of several, as an array.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// Attributes in the order of canonical JSON.
#[derive(Serialize)]
struct CloudEvent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    correlationid: Option<&'a str>,
    data: &'a RawValue,
    datacontenttype: &'static str,
    id: String,
    ledgerhash: &'a Digest,
    sequence: String,
    source: &'a str,
    specversion: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    time: &'a str,
    #[serde(rename = "type")]
    type_name: &'a str,
}

/// An event as a CloudEvent 1.0.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "for the description alone")]
pub struct CloudEventShape {
    /// Extension: what ties it to others, where it has such an id.
    correlationid: Option<String>,
    /// The canonical envelope, byte for byte.
    data: serde_json::Value,
    #[schema(example = "application/json")]
    datacontenttype: String,
    /// Its place in the ledger, from 0.
    #[schema(example = "4711")]
    id: String,
    /// Extension: SHA-256 of a zero byte and the bytes of `data`, hex.
    ledgerhash: String,
    /// Extension: its place as text that sorts.
    #[schema(example = "00000000000000004711")]
    sequence: String,
    /// The ledger: enclave and tenant.
    #[schema(example = "urn:fastness:ledger:0123456789abcdef:acme")]
    source: String,
    #[schema(example = "1.0")]
    specversion: String,
    /// `job:<id>`, else `run:<id>`, else `worker:<name>`.
    subject: Option<String>,
    /// Ledger time, RFC 3339.
    time: String,
    #[schema(example = "job.completed")]
    r#type: String,
}

/// What is read of an envelope.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    at: Cow<'a, str>,
    #[serde(borrow, default)]
    correlation_id: Option<Cow<'a, str>>,
    seq: Seq,
    subject: Subject,
    #[serde(rename = "type", borrow)]
    type_name: Cow<'a, str>,
}

/// Names a ledger wherever its events are read: a foreign one as its own enclave names it.
pub fn source(enclave: &EnclaveId, tenant: &TenantName) -> String {
    let foreign = tenant.as_str().strip_prefix("foreign:");
    match foreign.and_then(|origin| origin.split_once('/')) {
        Some((enclave, tenant)) => format!("urn:fastness:ledger:{enclave}:{tenant}"),
        None => format!("urn:fastness:ledger:{}:{tenant}", enclave.as_str()),
    }
}

/// One event in structured mode: `envelope` is its canonical bytes and `hash` its leaf hash.
///
/// # Errors
/// The envelope is none.
pub fn structured(envelope: &[u8], hash: &Digest, source: &str) -> Result<Vec<u8>, serde_json::Error> {
    let head: Head<'_> = serde_json::from_slice(envelope)?;
    let correlation_id = head.correlation_id.as_deref();
    serde_json::to_vec(&CloudEvent {
        correlationid: correlation_id.filter(|text| is_attribute(text)),
        data: serde_json::from_slice(envelope)?,
        datacontenttype: "application/json",
        id: head.seq.to_string(),
        ledgerhash: hash,
        // Text that sorts as the numbers do, as the extension asks.
        sequence: format!("{:020}", head.seq.0),
        source,
        specversion: "1.0",
        subject: subject(&head.subject).filter(|text| is_attribute(text)),
        time: &head.at,
        type_name: &head.type_name,
    })
}

/// What a stream sends of an event; nothing where it cannot be read, which is told in the log.
pub fn encode(enclave: &EnclaveId, tenant: &TenantName, event: &[u8], leaf: &Digest, out: &mut Vec<u8>) {
    match structured(event, leaf, &source(enclave, tenant)) {
        Ok(body) => out.extend_from_slice(&body),
        Err(error) => tracing::error!(%tenant, %leaf, %error, "an event cannot be read"),
    }
}

/// The one thing that the event is about, as rooms are named.
fn subject(subject: &Subject) -> Option<String> {
    let mut text = String::new();
    // Writing to memory cannot fail.
    let _ = match (&subject.job, &subject.run, &subject.worker) {
        (Some(job), _, _) => write!(text, "job:{job}"),
        (None, Some(run), _) => write!(text, "run:{run}"),
        (None, None, Some(worker)) => write!(text, "worker:{worker}"),
        (None, None, None) => return None,
    };
    Some(text)
}

/// Whether an attribute may hold a text: something, and neither control characters nor what Unicode keeps for itself.
fn is_attribute(text: &str) -> bool {
    let is_noncharacter =
        |char: char| matches!(u32::from(char), 0xfdd0..=0xfdef) || u32::from(char) & 0xfffe == 0xfffe;
    !text.is_empty()
        && !text
            .chars()
            .any(|char| char.is_control() || is_noncharacter(char))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::canonical;
    use crate::domain::leaf_hash;

    fn envelope(more: &str, subject: &str) -> String {
        format!(
            r#"{{"actor":{{"id":"w-1","kind":"worker"}},"at":"2026-01-31T12:00:00.123Z",{more}"payload":{{"a":"\u0001\n"}},"schema":"fastness.event/v1","seq":4711,"subject":{subject},"tenant":"acme","type":"job.completed","version":1}}"#
        )
    }

    fn made(envelope: &str) -> serde_json::Value {
        let body = structured(envelope.as_bytes(), &leaf_hash(envelope.as_bytes()), "urn:s").unwrap();
        assert!(
            canonical::check(&body).is_ok(),
            "{}",
            String::from_utf8_lossy(&body)
        );
        let text = String::from_utf8(body.clone()).unwrap();
        assert!(
            text.contains(&format!(r#""data":{envelope},"datacontenttype""#)),
            "{text}"
        );
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn a_cloud_event_carries_the_envelope_and_its_attributes_and_is_canonical() {
        let event = made(&envelope(
            r#""correlationId":"c-17 \"ü\"","#,
            r#"{"worker":"w-1"}"#,
        ));
        assert_eq!(event["correlationid"], "c-17 \"ü\"");
        assert_eq!(event["subject"], "worker:w-1");
        assert_eq!(event["sequence"], "00000000000000004711");
        assert_eq!(
            (&event["id"], &event["specversion"]),
            (&"4711".into(), &"1.0".into())
        );
        assert_eq!(event["time"], "2026-01-31T12:00:00.123Z");
    }

    #[test]
    fn what_no_attribute_may_hold_is_left_in_the_data_alone() {
        for bad in [
            "",
            r"a\nb",
            r"\u0000",
            "\u{85}",
            "\u{fdd0}",
            "\u{1fffe}",
            "\u{ffff}",
        ] {
            let event = made(&envelope(&format!(r#""correlationId":"{bad}","#), "{}"));
            assert_eq!(event.get("correlationid"), None, "{bad:?}");
            assert_eq!(event.get("subject"), None);
        }
        assert!(structured(b"{}", &leaf_hash(b"{}"), "urn:s").is_err());
    }

    #[test]
    fn a_foreign_ledger_has_the_source_that_it_has_at_home() {
        let (here, there): (EnclaveId, EnclaveId) = (
            "0123456789abcdef".parse().unwrap(),
            "fedcba9876543210".parse().unwrap(),
        );
        let foreign = "foreign:fedcba9876543210/plant".parse().unwrap();
        let own = "plant".parse().unwrap();
        assert_eq!(source(&here, &foreign), source(&there, &own));
        assert_eq!(source(&here, &own), "urn:fastness:ledger:0123456789abcdef:plant");
    }
}
