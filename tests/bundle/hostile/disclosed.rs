//! Disclosures that do not belong to the history beside them, or are not written as such.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fastness::domain::Digest;
use fastness::domain::canonical::{Value, parse};
use fastness::domain::redaction::{Disclosure, write_digest};

use super::super::disclosures::{Made, bundle, created, line, lines, made};
use super::super::fixture;
use super::{Case, Section};

/// Digests in the history of [`made`].
const DIGESTS: u64 = 7;

pub fn cases() -> Vec<Case> {
    let mut all = belonging();
    all.extend(order());
    all.extend(forms());
    all.extend(histories());
    all
}

/// These lines beside the history of [`made`], under a manifest that counts them rightly.
fn shown(name: &'static str, wrong: &'static str, text: &str) -> Case {
    let count = text.bytes().filter(|byte| *byte == b'\n').count() as u64;
    let file = bundle(&made().events, text, DIGESTS.saturating_sub(count));
    Case::new(Section::Disclosed, name, wrong, file).member("disclosures.jsonl")
}

fn at(case: Case, line: u64, seq: u64) -> Case {
    Case {
        seq: Some(seq),
        ..case.line(line)
    }
}

/// A disclosure with another salt or value, and all else of it.
fn altered(of: &Disclosure, salt: Option<[u8; 32]>, value: Option<Value>) -> Disclosure {
    let json = URL_SAFE_NO_PAD.decode(of.as_str()).unwrap();
    let parts: Vec<serde_json::Value> = serde_json::from_slice(&json).unwrap();
    let own = URL_SAFE_NO_PAD.decode(parts[0].as_str().unwrap()).unwrap();
    let opened = of.open().unwrap();
    Disclosure::new(
        &salt.unwrap_or_else(|| own.try_into().unwrap()),
        &opened.name,
        &value.unwrap_or(opened.value),
    )
}

fn belonging() -> Vec<Case> {
    let Made { disclosures, .. } = made();
    let (seq, first) = &disclosures[0];
    let salted = altered(first, Some([9; 32]), None);
    let valued = altered(first, None, Some(Value::from("invented")));
    assert_eq!(altered(first, None, None).as_str(), first.as_str());
    let no_digest = "no digest of the event";
    vec![
        at(
            shown(
                "disclosure-altered-salt",
                "The right field and value are shown under another salt.",
                &line(*seq, salted.as_str()),
            )
            .refused(10, 7, no_digest),
            1,
            1,
        ),
        at(
            shown(
                "disclosure-altered-value",
                "Another value is shown under the right salt and name.",
                &line(*seq, valued.as_str()),
            )
            .refused(10, 7, no_digest),
            1,
            1,
        ),
        at(
            shown(
                "disclosure-unreferenced",
                "A disclosure is there for an event that withholds nothing.",
                &line(0, first.as_str()),
            )
            .refused(10, 7, "no redacted fields"),
            1,
            0,
        ),
        at(
            shown(
                "disclosure-of-another-event",
                "A disclosure is there under the number of another event that withholds something.",
                &line(4, first.as_str()),
            )
            .refused(10, 7, no_digest),
            1,
            4,
        ),
        at(
            shown(
                "disclosure-beyond-the-range",
                "A disclosure is there for an event that the bundle does not hold.",
                &line(5, first.as_str()),
            )
            .refused(10, 7, "no event of the range"),
            1,
            5,
        ),
        Case::new(
            Section::Disclosed,
            "disclosures-all-shown",
            "All that the history withholds is shown: this is a good bundle.",
            bundle(&made().events, &lines(&disclosures), 0),
        ),
        Case::new(
            Section::Disclosed,
            "disclosures-none-shown",
            "Nothing of what the history withholds is shown: this is a good bundle.",
            bundle(&made().events, "", DIGESTS),
        ),
    ]
}

fn order() -> Vec<Case> {
    let Made { disclosures, .. } = made();
    let all = lines(&disclosures);
    let twice = lines(&disclosures[..1]) + &lines(&disclosures[..1]);
    let swapped = lines(&[disclosures[1].clone(), disclosures[0].clone()]);
    let miscounted = |withheld| bundle(&made().events, &all, withheld);
    vec![
        at(
            shown("disclosure-twice", "The same disclosure is there twice.", &twice).refused(
                10,
                7,
                "there twice",
            ),
            2,
            1,
        ),
        at(
            shown(
                "disclosures-in-another-order",
                "Two disclosures of an event stand the wrong way round.",
                &swapped,
            )
            .refused(14, 7, "order"),
            2,
            1,
        ),
        Case::new(
            Section::Disclosed,
            "disclosures-withheld-miscounted",
            "The manifest says that a field is withheld, and all are shown.",
            miscounted(1),
        )
        .refused(10, 7, "are withheld")
        .member("disclosures.jsonl"),
        shown(
            "disclosures-without-line-feed",
            "The last disclosure does not end with a line feed.",
            all.trim_end(),
        )
        .refused(14, 7, "LF")
        .line(DIGESTS),
    ]
}

/// The text of a disclosure over this JSON.
fn encoded(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

fn forms() -> Vec<Case> {
    let salt = "A".repeat(43);
    let of = |rest: &str| encoded(&format!("[\"{salt}\",{rest}]"));
    let good = made().disclosures[0].1.as_str().to_owned();
    let case = |name, wrong, disclosure: &str, says| {
        at(
            shown(name, wrong, &line(1, disclosure)).refused(14, 7, says),
            1,
            1,
        )
    };
    vec![
        case(
            "disclosure-of-the-name-sd",
            "A field is shown whose name is that of the digests.",
            &of("\"_sd\",1"),
            "reserved",
        ),
        case(
            "disclosure-of-the-name-dots",
            "A field is shown whose name is that of redacted elements.",
            &of("\"...\",1"),
            "reserved",
        ),
        case(
            "disclosure-with-digests-inside",
            "The value that is shown withholds something itself.",
            &of("\"a\",[{\"_sd\":[]}]"),
            "reserved",
        ),
        case(
            "disclosure-with-a-short-salt",
            "The salt has 16 bytes, few enough to guess a value by.",
            &encoded("[\"AAAAAAAAAAAAAAAAAAAAAA\",\"a\",1]"),
            "salt",
        ),
        case(
            "disclosure-without-a-value",
            "A disclosure has salt and name alone.",
            &of("\"a\""),
            "[salt, name, value]",
        ),
        case(
            "disclosure-with-a-fraction",
            "The value that is shown is a fraction.",
            &of("\"a\",1.5"),
            "[salt, name, value]",
        ),
        case(
            "disclosure-with-padding",
            "The text of a disclosure has the padding of base64.",
            &format!("{good}="),
            "base64url",
        ),
        case(
            "disclosure-that-is-none",
            "What is shown is no disclosure.",
            "x",
            "base64url",
        ),
        shown(
            "disclosure-with-spaces",
            "A disclosure's line is written with a space.",
            &line(1, &good).replace("\"seq\":", "\"seq\": "),
        )
        .refused(14, 7, "canonical")
        .line(1),
        shown(
            "disclosure-with-another-field",
            "A disclosure's line has a field that nobody reads.",
            &line(1, &good).replace("}", ",\"x\":1}"),
        )
        .refused(14, 7, "canonical")
        .line(1),
    ]
}

/// What is wrong with the digests themselves, or with what stands beside them.
fn histories() -> Vec<Case> {
    let mut pair = [write_digest(&Digest::of(b"x")), write_digest(&Digest::of(b"y"))];
    pair.sort();
    let [low, high] = pair;
    let events = |json: &str| {
        let payload = parse(json.as_bytes()).unwrap();
        vec![fixture::event(0), created(1, Some(1), &payload)]
    };
    let digests = |name, wrong, json: &str, says| {
        let file = bundle(&events(json), "", 1);
        let case = Case::new(Section::Disclosed, name, wrong, file).refused(14, 7, says);
        at(case.member("history.jsonl"), 2, 1)
    };
    let first = Disclosure::new(&[1; 32], "a", &Value::from(1));
    let over = format!("{{\"_sd\":[\"{}\"],\"a\":0}}", write_digest(&first.digest()));
    let second = Disclosure::new(&[2; 32], "a", &Value::from(2));
    let mut both = [first.clone(), second];
    both.sort_by_key(|disclosure| write_digest(&disclosure.digest()));
    let texts = both.clone().map(|disclosure| write_digest(&disclosure.digest()));
    let two = format!("{{\"_sd\":[\"{}\",\"{}\"]}}", texts[0], texts[1]);
    let named = |name, wrong, json: &str, text: &str| {
        Case::new(Section::Disclosed, name, wrong, bundle(&events(json), text, 0))
            .refused(10, 7, "there already")
            .member("disclosures.jsonl")
    };
    vec![
        digests(
            "digests-in-another-order",
            "The digests in an event are not sorted, so their order could tell what they stand for.",
            &format!("{{\"_sd\":[\"{high}\",\"{low}\"]}}"),
            "sorted",
        ),
        digests(
            "digest-twice",
            "A digest stands in two objects of an event.",
            &format!("{{\"_sd\":[\"{low}\"],\"a\":{{\"_sd\":[\"{low}\"]}}}}"),
            "two places",
        ),
        digests(
            "digests-none",
            "An event says that it withholds something, and has no digest.",
            "{\"_sd\":[]}",
            "sorted",
        ),
        at(
            named(
                "disclosure-over-another-field",
                "A disclosure would put its value over a field that the event shows.",
                &over,
                &line(1, first.as_str()),
            ),
            1,
            1,
        ),
        at(
            named(
                "disclosures-of-one-name",
                "Two disclosures of one object have the same name, so two readers could read two values.",
                &two,
                &(line(1, both[0].as_str()) + &line(1, both[1].as_str())),
            ),
            2,
            1,
        ),
    ]
}
