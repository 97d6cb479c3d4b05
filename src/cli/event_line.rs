//! An event as one line for people.

use serde::Deserialize;
use serde_json::Value;

use super::style::{Look, paint, shown, state};

/// What of an envelope is shown.
#[derive(Debug, Deserialize)]
struct Envelope {
    actor: Actor,
    at: String,
    payload: Value,
    seq: u64,
    subject: Value,
    #[serde(rename = "type")]
    type_name: String,
}

#[derive(Debug, Deserialize)]
struct Actor {
    id: String,
}

/// The line. Bytes that are no event are shown as they are.
pub fn describe(event: &[u8]) -> String {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(event) else {
        return shown(&String::from_utf8_lossy(event)).into_owned();
    };
    let Envelope {
        actor,
        at,
        payload,
        seq,
        subject,
        type_name,
    } = envelope;
    let time = at.get(11..23).unwrap_or(&at).to_owned();
    let (_, verb) = type_name.split_once('.').unwrap_or((&type_name, ""));
    let (glyph, look) = match verb {
        "started" => state("running"),
        "created" => state("pending"),
        verb => state(verb),
    };
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let about = ["step", "jobType", "run", "job"]
        .iter()
        .find_map(|name| text(&subject, name));
    let named = ["name", "pack", "origin", "id"]
        .iter()
        .find_map(|name| text(&payload, name));
    let about = about.or(named).unwrap_or_default();
    let why =
        text(&payload, "reason").or_else(|| text(payload.get("failure").unwrap_or(&Value::Null), "message"));
    let why = why
        .map(|why| format!(" {}", shown(&why.replace('\n', " "))))
        .unwrap_or_default();
    format!(
        "{} {} {} {} {} {}{}",
        paint(Look::Dim, format_args!("{seq:>6}")),
        paint(Look::Dim, shown(&time)),
        paint(look, glyph),
        paint(look, format_args!("{:22}", shown(&type_name))),
        shown(&about),
        paint(Look::Dim, format_args!("by {}", shown(&actor.id))),
        why,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_becomes_one_harmless_line() {
        let event = br#"{"actor":{"id":"local","kind":"worker"},"at":"2026-01-31T12:00:00.123Z","payload":{"failure":{"message":"a\nb"}},
            "schema":"s","seq":7,"subject":{"job":"j","step":"scan\u001b[2J"},"tenant":"t","type":"job.failed","version":1}"#;
        let line = anstream::adapter::strip_str(&describe(event)).to_string();
        assert!(
            line.contains("7 12:00:00.123") && line.contains("job.failed") && line.contains("by local"),
            "{line}"
        );
        assert!(
            line.ends_with(" a b") && !line.contains('\n') && line.contains("scan\u{fffd}[2J"),
            "{line}"
        );
        assert_eq!(describe(b"\x1b[2Jx"), "\u{fffd}[2Jx");
    }
}
