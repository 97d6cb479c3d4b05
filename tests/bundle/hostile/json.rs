//! Events that are not written in the one form, in a ledger that was signed with them in it.
//!
//! Here the insider has both keys, so tree, checkpoints and manifest agree with what is wrong: the form alone is.

use super::super::fixture::Parts;
use super::{Case, Script, Section};

pub fn cases() -> Vec<Case> {
    let mut all = numbers();
    all.extend(texts());
    all.extend(envelopes());
    all.push(
        Case::new(
            Section::Json,
            "json-not-normalised-text-is-kept",
            "Text that is not in Unicode's normal form C is kept as it is, so this is a good bundle.",
            with(
                b"\"epoch\":7",
                "\"epoch\":7,\"output\":\"e\u{301}\"".as_bytes(),
                true,
            ),
        )
        .script(Script::Same),
    );
    all
}

/// The third event with `from` put for `to`, everything signed anew; its own output is taken away when asked.
fn with(from: &[u8], to: &[u8], without_output: bool) -> Vec<u8> {
    let mut parts = Parts::small();
    parts.edit_lines(|lines| {
        let mut line = lines[2].clone();
        if without_output {
            let start = find(&line, b",\"output\":");
            let end = find(&line, b"},\"schema\"");
            line.drain(start..end);
        }
        let at = find(&line, from);
        line.splice(at..at + from.len(), to.iter().copied());
        lines[2] = line;
    });
    parts.sign_all(|_| {});
    parts.file()
}

fn find(line: &[u8], piece: &[u8]) -> usize {
    line.windows(piece.len())
        .position(|window| window == piece)
        .unwrap()
}

fn case(
    name: &'static str,
    wrong: &'static str,
    from: &str,
    to: impl AsRef<[u8]>,
    says: &'static str,
) -> Case {
    let file = with(from.as_bytes(), to.as_ref(), false);
    Case::new(Section::Json, name, wrong, file)
        .refused(14, 5, says)
        .event(3)
}

fn numbers() -> Vec<Case> {
    let put = |name, wrong, number: &str, says| {
        case(
            name,
            wrong,
            "\"attempt\":1",
            format!("\"attempt\":{number}"),
            says,
        )
    };
    vec![
        put("json-float", "A number has a fraction.", "1.5", "fraction"),
        put(
            "json-float-of-a-whole-number",
            "A whole number is written with a fraction.",
            "1.0",
            "fraction",
        ),
        put(
            "json-exponent",
            "A number is written with an exponent.",
            "1e3",
            "exponent",
        ),
        put("json-minus-zero", "A zero has a sign.", "-0", "-0"),
        put(
            "json-two-to-the-53rd",
            "A number is so large that some programs round it.",
            "9007199254740992",
            "2^53-1",
        ),
        put(
            "json-leading-zero",
            "A number has a leading zero.",
            "01",
            "not JSON",
        ),
        put(
            "json-not-a-number",
            "A number is NaN, which JSON does not have.",
            "NaN",
            "not JSON",
        ),
    ]
}

fn texts() -> Vec<Case> {
    let put =
        |name, wrong, to: &[u8], says| case(name, wrong, "\"text\":\"", [b"\"text\":\"", to].concat(), says);
    let deep = |levels: usize| format!("\"deep\":[{}{},", "[".repeat(levels), "]".repeat(levels));
    vec![
        put(
            "json-lone-surrogate",
            "A text has half of a surrogate pair.",
            b"\\ud800",
            "surrogate",
        ),
        put(
            "json-overlong-utf8",
            "A text has a character in an overlong form.",
            b"\xc0\xaf",
            "UTF-8",
        ),
        put(
            "json-surrogate-in-utf8",
            "A text has a surrogate written as UTF-8.",
            b"\xed\xa0\x80",
            "UTF-8",
        ),
        put(
            "json-needless-escape",
            "A text has an escape that it does not need.",
            b"\\u0061",
            "canonical",
        ),
        put(
            "json-escaped-slash",
            "A text has a slash with an escape.",
            b"\\/",
            "canonical",
        ),
        put(
            "json-escape-in-upper-case",
            "A text has an escape in upper case.",
            b"\\u001F",
            "canonical",
        ),
        put(
            "json-control-character",
            "A text has a control character without an escape.",
            b"\x01",
            "control character",
        ),
        put(
            "json-delete-character",
            "A text has the character U+007F, on whose escape implementations differ.",
            b"\x7f",
            "U+007F",
        )
        .script(Script::Leaves(
            "U+007F is in canonical form for RFC 8785, which is what the script checks",
        )),
        case(
            "json-depth-bomb",
            "An event is nested deeper than any program needs.",
            "\"deep\":[[],",
            deep(40),
            "nested too deep",
        )
        .script(Script::Leaves(
            "how deep JSON is nested does not disturb the script",
        )),
        case(
            "json-depth-beyond-any-stack",
            "An event is nested so deep that a careless parser ends.",
            "\"deep\":[[],",
            deep(100_000),
            "nested too deep",
        ),
        case(
            "json-key-outside-the-alphabet",
            "A name in an object has a slash.",
            "\"deep\":",
            "\"de/ep\":",
            "a key is 1 to 64",
        )
        .script(Script::Leaves(
            "the alphabet of names is left to `fastness verify`",
        )),
        case(
            "json-byte-order-mark",
            "A line begins with a byte order mark.",
            "{\"actor\"",
            "\u{feff}{\"actor\"",
            "byte order mark",
        ),
        case(
            "json-spaces",
            "An event is written with a space.",
            "\"attempt\":1",
            "\"attempt\": 1",
            "canonical",
        ),
        case(
            "json-names-out-of-order",
            "The names in an object are not sorted.",
            "\"tenant\":\"acme\",\"type\":\"job.completed\"",
            "\"type\":\"job.completed\",\"tenant\":\"acme\"",
            "canonical",
        ),
        case(
            "json-duplicate-name",
            "A name stands twice in one object.",
            "\"attempt\":1",
            "\"attempt\":1,\"attempt\":1",
            "twice in one object",
        ),
    ]
}

fn envelopes() -> Vec<Case> {
    const KNOWN: Script =
        Script::Leaves("which events, versions and fields there are is left to `fastness verify`");
    vec![
        case(
            "event-unknown-type",
            "An event is of a type that does not exist.",
            "job.completed",
            "job.improved",
            "not known here",
        )
        .script(KNOWN),
        case(
            "event-unknown-version",
            "An event is of a version that does not exist.",
            "\"version\":1",
            "\"version\":2",
            "not known here",
        )
        .script(KNOWN),
        case(
            "event-of-another-schema",
            "An event is of another schema.",
            "fastness.event/v1",
            "fastness.event/v2",
            "schema",
        )
        .script(KNOWN),
        case(
            "event-unknown-field",
            "An event has a field that nobody reads.",
            "\"version\":1",
            "\"version\":1,\"zone\":1",
            "unknown field `zone`",
        )
        .script(KNOWN),
        case(
            "event-missing-field",
            "An event's payload lacks a field.",
            "\"attempt\":1,",
            "",
            "missing field `attempt`",
        )
        .script(KNOWN),
        case(
            "event-without-tenant",
            "An event has no tenant.",
            "\"tenant\":\"acme\",",
            "",
            "missing field `tenant`",
        ),
        case(
            "event-seq-negative",
            "An event has a negative number.",
            "\"seq\":7",
            "\"seq\":-7",
            "envelope",
        )
        .script(SEQ),
        case(
            "event-seq-is-text",
            "An event's number is text.",
            "\"seq\":7",
            "\"seq\":\"7\"",
            "envelope",
        )
        .script(SEQ),
        case(
            "event-time-in-another-form",
            "An event's time has an offset where Z belongs.",
            "Z\",\"payload",
            "+00:00\",\"payload",
            "milliseconds and Z",
        )
        .script(Script::Leaves("times are left to `fastness verify`")),
        case(
            "event-null-field",
            "An event has a field that says nothing, so its hash is another one than that of the same event.",
            "\"payload\":",
            "\"correlationId\":null,\"payload\":",
            "not as events are written",
        )
        .script(KNOWN),
        case(
            "event-empty-field-in-payload",
            "A payload has an empty list that is left out where events are written.",
            "\"attempt\":1",
            "\"artifacts\":[],\"attempt\":1",
            "not as events are written",
        )
        .script(KNOWN),
        Case::new(
            Section::Json,
            "event-time-in-another-form-in-payload",
            "A payload has a time with an offset where Z belongs.",
            with_failure("2026-01-31T12:00:00.000+00:00"),
        )
        .refused(14, 5, "not as events are written")
        .event(3)
        .script(Script::Leaves("times are left to `fastness verify`")),
    ]
}

/// The third event as a failure that is tried again at a time.
fn with_failure(next: &str) -> Vec<u8> {
    let mut parts = Parts::small();
    parts.edit_lines(|lines| {
        let mut line = lines[2].clone();
        let (start, end) = (find(&line, b"\"payload\":"), find(&line, b",\"schema\""));
        let payload = format!(
            r#""payload":{{"attempt":1,"epoch":7,"failure":{{"class":"exit","message":"m","retryable":true}},"failures":1,"nextAttemptAt":"{next}"}}"#
        );
        line.splice(start..end, payload.into_bytes());
        let at = find(&line, b"job.completed");
        line.splice(at..at + b"job.completed".len(), *b"job.failed");
        lines[2] = line;
    });
    parts.sign_all(|_| {});
    parts.file()
}

const SEQ: Script = Script::Other(11, "the script misses the event of that number");
