//! Check 7: disclosures that belong to the history beside them, and all that must be refused.

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use fastness::bundle::manifest::Redaction;
use fastness::bundle::{BundleWriter, Check, Later, Member, Range, Report, Status, frontier, verify_later};
use fastness::domain::canonical::{CanonicalText, Value, parse, to_canonical};
use fastness::domain::event::{Actor, Event, EventBody, Subject};
use fastness::domain::job::{JobSpec, JobStatus};
use fastness::domain::payload::{JobCreated, RunCreated};
use fastness::domain::redaction::{Disclosure, Salts, Seed, redact, write_digest};
use fastness::domain::{Digest, Seq, Timestamp, leaf_hash};
use fastness::ledger::Frontier;

use super::fixture::{self, ORIGIN, checkpoint, export_key, log_key, refused, report};

const PAYLOAD: &str = "{\"a\":\"planted\",\"b\":[{\"c\":1,\"d\":2}],\"e\":3}";

/// A history with redacted fields, and all disclosures of it by event.
pub(super) struct Made {
    pub(super) events: Vec<Vec<u8>>,
    pub(super) disclosures: Vec<(u64, Disclosure)>,
}

fn redacted(json: &str, pointers: &[&str], seed: u8) -> (Value, Vec<Disclosure>) {
    let mut value = parse(json.as_bytes()).unwrap();
    let pointers = pointers.iter().map(|text| text.parse().unwrap()).collect();
    let made = redact(&mut value, &pointers, &mut Salts::new(Seed::new([seed; 32]))).unwrap();
    (value, made)
}

fn event(seq: u64, body: EventBody) -> Vec<u8> {
    let event = Event {
        actor: Actor::system("test"),
        at: Timestamp::from_ms(1_769_860_800_000 + seq as i64 * 137),
        body,
        correlation_id: None,
        project: None,
        seq: Seq(seq),
        subject: Subject::default(),
        tenant: "acme".parse().unwrap(),
    };
    event.to_canonical()
}

pub(super) fn created(seq: u64, with: Option<u64>, payload: &Value) -> Vec<u8> {
    event(
        seq,
        EventBody::JobCreated(Box::new(JobCreated {
            disclosures: with.map(Seq),
            idempotency: None,
            node: None,
            payload: Some(CanonicalText::of(payload)),
            payload_text: None,
            replay_of: None,
            spec: Arc::new(JobSpec::of_type("scan.image")),
            status: JobStatus::Scheduled,
        })),
    )
}

fn run_created(seq: u64, inputs: Value) -> Vec<u8> {
    let Value::Object(inputs) = inputs else {
        panic!("inputs are an object")
    };
    event(
        seq,
        EventBody::RunCreated(Box::new(RunCreated {
            disclosures: Some(Seq(seq)),
            env_sd: Vec::new(),
            graph: Vec::new(),
            idempotency: None,
            inputs,
            max_parallel: None,
            order_id: None,
            pack: None,
            replay_of: None,
            timeout_ms: None,
        })),
    )
}

/// Five events: one of nobody's, a job with three redacted fields, the same job again, one of nobody's with `_sd` that has
/// no meaning, a run with a sensitive input.
pub(super) fn made() -> Made {
    let (payload, of_job) = redacted(PAYLOAD, &["/a", "/b/0/c", "/e"], 1);
    let (inputs, of_run) = redacted("{\"root\":\"/\",\"token\":\"planted\"}", &["/token"], 2);
    let no_meaning = parse(b"{\"_sd\":\"of before redaction\"}").unwrap();
    let events = vec![
        fixture::event(0),
        created(1, Some(1), &payload),
        created(2, Some(1), &payload),
        created(3, None, &no_meaning),
        run_created(4, inputs),
    ];
    let mut disclosures = Vec::new();
    for (seq, of) in [(1, &of_job), (2, &of_job), (4, &of_run)] {
        disclosures.extend(of.iter().map(|disclosure| (seq, disclosure.clone())));
    }
    disclosures.sort_by_key(|(seq, disclosure)| (*seq, write_digest(&disclosure.digest())));
    Made { events, disclosures }
}

pub(super) fn line(seq: u64, disclosure: &str) -> String {
    format!("{{\"d\":\"{disclosure}\",\"seq\":{seq}}}\n")
}

pub(super) fn lines(disclosures: &[(u64, Disclosure)]) -> String {
    disclosures
        .iter()
        .map(|(seq, d)| line(*seq, d.as_str()))
        .collect()
}

pub(super) fn bundle(events: &[Vec<u8>], shown: &str, withheld: u64) -> Vec<u8> {
    let size = events.len() as u64;
    let mut tree = Frontier::default();
    events.iter().for_each(|event| tree.push(leaf_hash(event)));
    let empty = Frontier::default().root();
    let mut writer = BundleWriter::new(Range {
        redaction: Redaction {
            policy: "full".to_owned(),
            withheld,
        },
        prev_root: empty,
        root: tree.root(),
        size,
        ..fixture::range(0, 0)
    });
    for (member, size, root) in [
        (Member::Checkpoint, size, tree.root()),
        (Member::CheckpointPrev, 0, empty),
    ] {
        writer.add_bytes(member, checkpoint(&log_key(), ORIGIN, size, &root));
    }
    writer.add_bytes(Member::Frontier, frontier::write(&Frontier::default()));
    let history: Arc<[u8]> = events
        .iter()
        .flat_map(|event| [event.as_slice(), b"\n"].concat())
        .collect();
    writer
        .add_history(Box::new(move || Ok(Box::new(Cursor::new(history.clone())))))
        .unwrap();
    writer.add_bytes(Member::Disclosures, shown.as_bytes().to_vec());
    let mut bytes = Vec::new();
    writer.write(&export_key(), &mut bytes).unwrap();
    bytes
}

fn check_7(report: &Report) -> &Check {
    &report.checks[6]
}

#[test]
fn any_part_of_the_disclosures_is_good_when_the_rest_is_counted_as_withheld() {
    let Made { events, disclosures } = made();
    assert_eq!(disclosures.len(), 7);
    for set in 0..1usize << disclosures.len() {
        let chosen = (0..disclosures.len()).filter(|bit| set >> bit & 1 == 1);
        let shown: Vec<_> = chosen.map(|bit| disclosures[bit].clone()).collect();
        let withheld = (disclosures.len() - shown.len()) as u64;
        let report = report(&bundle(&events, &lines(&shown), withheld));
        assert!(report.ok, "{set:b}: {report:?}");
        let expected = format!("{} of 7 redacted fields are shown", shown.len());
        assert_eq!(check_7(&report).detail.as_deref(), Some(expected.as_str()));
        // One more or less withheld than the history has is found.
        for wrong in [withheld + 1, withheld.wrapping_sub(1)] {
            if wrong <= 8 {
                let check = refused(&bundle(&events, &lines(&shown), wrong), 10);
                assert_eq!(check.n, 7, "{check:?}");
            }
        }
    }
}

#[test]
fn hostile_disclosures_are_refused() {
    let Made { events, disclosures } = made();
    let all = lines(&disclosures);
    let rest = || lines(&disclosures[1..]);
    let encode = |json: String| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json)
    };
    let salt = "A".repeat(43);
    let altered = Disclosure::new(&[7; 32], "a", &Value::from("planted"));
    let swapped = lines(&[disclosures[1].clone(), disclosures[0].clone()]) + &lines(&disclosures[2..]);
    let twice = lines(&disclosures[..1]) + &all;
    let foreign = |seq: u64| lines(&disclosures) + &line(seq, disclosures[0].1.as_str());
    for (name, shown, code, why) in [
        (
            "altered salt",
            line(1, altered.as_str()),
            10,
            "no digest of the event",
        ),
        (
            "unreferenced",
            line(0, disclosures[0].1.as_str()),
            10,
            "no redacted fields",
        ),
        (
            "no meaning",
            foreign(3).replacen(&all, "", 1),
            10,
            "no redacted fields",
        ),
        (
            "another event's",
            foreign(4).replacen(&all, "", 1),
            10,
            "no digest of the event",
        ),
        ("beyond the range", foreign(5), 10, "no event of the range"),
        ("twice", twice, 10, "twice"),
        ("order", swapped, 14, "order"),
        ("behind", all.clone() + &line(1, altered.as_str()), 14, "order"),
        (
            "reserved name",
            line(1, &encode(format!("[\"{salt}\",\"_sd\",1]"))),
            14,
            "reserved",
        ),
        (
            "element",
            line(1, &encode(format!("[\"{salt}\",\"...\",1]"))),
            14,
            "reserved",
        ),
        (
            "nested",
            line(1, &encode(format!("[\"{salt}\",\"a\",{{\"_sd\":[]}}]"))),
            14,
            "reserved",
        ),
        (
            "short salt",
            line(1, &encode("[\"AAAAAAAAAAAAAAAAAAAAAA\",\"a\",1]".to_owned())),
            14,
            "salt",
        ),
        (
            "no JSON",
            line(1, &encode("{}".to_owned())),
            14,
            "[salt, name, value]",
        ),
        (
            "padding",
            line(1, &format!("{}=", encode(format!("[\"{salt}\",\"a\",1]")))),
            14,
            "base64url",
        ),
        (
            "blank",
            all.replacen("\"seq\":1", "\"seq\": 1", 1),
            14,
            "canonical",
        ),
        (
            "more",
            all.replacen("\"seq\":1", "\"seq\":1,\"x\":1", 1),
            14,
            "canonical",
        ),
        ("negative", line(1, "AA").replace(":1}", ":-1}"), 14, "canonical"),
        ("empty line", format!("\n{all}"), 14, "canonical"),
        ("no LF", all.trim_end().to_owned(), 14, "LF"),
    ] {
        assert_ne!(shown, all, "{name}");
        // The signed manifest says what makes the lines count right: only what they say is wrong.
        let count = shown.bytes().filter(|byte| *byte == b'\n').count() as u64;
        let check = refused(&bundle(&events, &shown, 7u64.saturating_sub(count)), code);
        assert_eq!(
            (check.n, check.member.as_deref()),
            (7, Some("audit/disclosures.jsonl")),
            "{name}: {check:?}"
        );
        assert!(check.line.is_some(), "{name}: {check:?}");
        assert!(check.detail.as_ref().unwrap().contains(why), "{name}: {check:?}");
        assert!(!format!("{check:?}").contains("planted"), "{name}: {check:?}");
    }
    assert!(report(&bundle(&events, &rest(), 1)).ok);
}

#[test]
fn a_history_whose_digests_are_none_is_refused() {
    let digest = write_digest(&Digest::of(b"x"));
    let other = write_digest(&Digest::of(b"y"));
    let (low, high) = if digest < other {
        (&digest, &other)
    } else {
        (&other, &digest)
    };
    for json in [
        format!("{{\"_sd\":[\"{high}\",\"{low}\"]}}"),
        format!("{{\"_sd\":[\"{low}\",\"{low}\"]}}"),
        format!("{{\"_sd\":[\"{low}\"],\"a\":{{\"_sd\":[\"{low}\"]}}}}"),
        "{\"_sd\":[]}".to_owned(),
        "{\"_sd\":\"x\"}".to_owned(),
        format!("{{\"_sd\":[\"{low}=\"]}}"),
    ] {
        let events = [
            fixture::event(0),
            created(1, Some(1), &parse(json.as_bytes()).unwrap()),
        ];
        let check = refused(&bundle(&events, "", 1), 14);
        assert_eq!(
            (check.n, check.seq, check.line),
            (7, Some(1), Some(2)),
            "{json}: {check:?}"
        );
    }
}

#[test]
fn a_field_is_disclosed_once_and_never_over_another() {
    let first = Disclosure::new(&[1; 32], "a", &Value::from(1));
    let second = Disclosure::new(&[2; 32], "a", &Value::from(2));
    let mut both = [write_digest(&first.digest()), write_digest(&second.digest())];
    both.sort();
    let two = format!("{{\"_sd\":[\"{}\",\"{}\"]}}", both[0], both[1]);
    let over = format!("{{\"_sd\":[\"{}\"],\"a\":0}}", write_digest(&first.digest()));
    let mut disclosures = vec![(1, first.clone()), (1, second)];
    disclosures.sort_by_key(|(_, disclosure)| write_digest(&disclosure.digest()));
    for (json, shown) in [(two, lines(&disclosures)), (over, line(1, first.as_str()))] {
        let events = [
            fixture::event(0),
            created(1, Some(1), &parse(json.as_bytes()).unwrap()),
        ];
        let check = refused(&bundle(&events, &shown, 0), 10);
        assert!(
            check.n == 7 && check.detail.as_ref().unwrap().contains("there already"),
            "{check:?}"
        );
    }
}

/// Holds files that came later, by name, against a good bundle; how many disclosures they have, and the report then.
fn with_later(bundle: &[u8], files: &[(&str, &str)], mut report: Report) -> (u64, Report) {
    let bundle: Arc<[u8]> = bundle.into();
    let open = || -> io::Result<Box<dyn Read>> { Ok(Box::new(Cursor::new(bundle.clone()))) };
    let mut contents: Vec<&[u8]> = files.iter().map(|(_, text)| text.as_bytes()).collect();
    let later = files.iter().zip(&mut contents).map(|((name, _), content)| Later {
        name: (*name).to_owned(),
        content,
    });
    let count = verify_later(&open, 0, later.collect(), &mut report).unwrap();
    (count, report)
}

#[test]
fn disclosures_that_come_later_are_held_against_the_bundle() {
    let Made { events, disclosures } = made();
    let bundle = bundle(&events, "", 7);
    let later = |text: &str| with_later(&bundle, &[("later.jsonl", text)], report(&bundle));
    let (count, good) = later(&lines(&disclosures));
    assert_eq!((count, good.ok, check_7(&good).status), (7, true, Status::Ok));
    assert_eq!(later("").0, 0);
    let altered = line(1, Disclosure::new(&[7; 32], "a", &Value::from(1)).as_str());
    for (text, code) in [
        (altered, 10),
        (lines(&disclosures).trim_end().to_owned(), 14),
        ("x".repeat(4 << 20), 14),
        (line(9, disclosures[0].1.as_str()), 10),
    ] {
        let (count, refused) = later(&text);
        assert_eq!((count, refused.ok, refused.exit_code), (0, false, code));
        let check = check_7(&refused);
        assert_eq!(
            (check.status, check.member.as_deref()),
            (Status::Failed, Some("later.jsonl"))
        );
    }
    // What failed before decides, and a bundle that cannot be read says so.
    let bad = refused_report(&bundle);
    let code = bad.exit_code;
    let text = line(9, disclosures[0].1.as_str());
    let (_, bad) = with_later(&bundle, &[("later.jsonl", &text)], bad);
    assert_eq!(bad.exit_code, code);
}

#[test]
fn a_later_file_gives_no_field_a_second_value() {
    let values = [1, 2, 3].map(|n| Disclosure::new(&[n; 32], "a", &Value::from(u32::from(n))));
    let mut openings: Vec<(u64, Disclosure)> = values.into_iter().map(|one| (1, one)).collect();
    openings.sort_by_key(|(_, one)| write_digest(&one.digest()));
    let digests: Vec<String> = openings
        .iter()
        .map(|(_, one)| write_digest(&one.digest()))
        .collect();
    let json = format!("{{\"_sd\":[\"{}\"]}}", digests.join("\",\""));
    let events = [
        fixture::event(0),
        created(1, Some(1), &parse(json.as_bytes()).unwrap()),
    ];
    let later = |shown: &[(u64, Disclosure)], files: &[(&str, &[(u64, Disclosure)])]| {
        let bundle = bundle(&events, &lines(shown), 3 - shown.len() as u64);
        let texts: Vec<(&str, String)> = files.iter().map(|(name, of)| (*name, lines(of))).collect();
        let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let good = report(&bundle);
        assert!(good.ok, "{good:?}");
        with_later(&bundle, &texts, good)
    };
    let [low, middle, high] = [&openings[..1], &openings[1..2], &openings[2..]];
    for one in [low, middle, high] {
        let (count, good) = later(&[], &[("a", one)]);
        assert!(good.ok && count == 1, "{good:?}");
    }
    let doubled = [low, low].concat();
    let (twice, other) = ("it is there twice, first in", "its field is there already, in");
    for (shown, files, named, line, says) in [
        (
            &[][..],
            &[("a", &openings[..2])][..],
            "a",
            2,
            format!("{other} line 1"),
        ),
        (
            &[][..],
            &[("a", &openings[1..])][..],
            "a",
            2,
            format!("{other} line 1"),
        ),
        (
            &[][..],
            &[("a", &doubled[..])][..],
            "a",
            2,
            format!("{twice} line 1"),
        ),
        // The other line may come before or behind it in the order of digests: named is what came later.
        (
            low,
            &[("a", high)][..],
            "a",
            1,
            format!("{other} audit/disclosures.jsonl line 1"),
        ),
        (
            high,
            &[("a", low)][..],
            "a",
            1,
            format!("{other} audit/disclosures.jsonl line 1"),
        ),
        (
            middle,
            &[("a", middle)][..],
            "a",
            1,
            format!("{twice} audit/disclosures.jsonl line 1"),
        ),
        (
            &[][..],
            &[("a", low), ("b", high)][..],
            "b",
            1,
            format!("{other} a line 1"),
        ),
        (
            &[][..],
            &[("a", high), ("b", low)][..],
            "b",
            1,
            format!("{other} a line 1"),
        ),
        (
            &[][..],
            &[("a", low), ("b", low)][..],
            "b",
            1,
            format!("{twice} a line 1"),
        ),
        (
            &[][..],
            &[("a", high), ("b", &openings[..0]), ("c", low)][..],
            "c",
            1,
            format!("{other} a line 1"),
        ),
    ] {
        let (count, report) = later(shown, files);
        let check = check_7(&report);
        let found = (
            report.exit_code,
            check.status,
            check.member.as_deref(),
            check.line,
            check.seq,
        );
        assert_eq!(
            found,
            (14, Status::Failed, Some(named), Some(line), Some(1)),
            "{check:?}"
        );
        assert_eq!((count, check.detail.as_deref()), (0, Some(says.as_str())));
    }
}

#[test]
fn several_later_files_are_walked_as_one() {
    let Made { events, disclosures } = made();
    let file = bundle(&events, &lines(&disclosures[2..3]), 6);
    let good = || report(&file);
    let odd: Vec<_> = disclosures
        .iter()
        .step_by(2)
        .filter(|one| **one != disclosures[2])
        .cloned()
        .collect();
    let even: Vec<_> = disclosures.iter().skip(1).step_by(2).cloned().collect();
    let (odd, even) = (lines(&odd), lines(&even));
    for files in [
        [("odd", &*odd), ("even", &*even)],
        [("even", &*even), ("odd", &*odd)],
    ] {
        let (count, report) = with_later(&file, &files, good());
        assert_eq!((count, report.ok), (6, true), "{report:?}");
    }
    // Each is judged by itself too, and the one that is wrong is named.
    let unended = even.trim_end();
    let altered = line(1, Disclosure::new(&[7; 32], "a", &Value::from(1)).as_str());
    for (text, code, line) in [(unended, 14, 3), (&*altered, 10, 1), ("{}\n", 14, 1)] {
        let (count, report) = with_later(&file, &[("odd", &odd), ("other", text)], good());
        let check = check_7(&report);
        let found = (count, report.exit_code, check.member.as_deref(), check.line);
        assert_eq!(found, (0, code, Some("other"), Some(line)), "{check:?}");
    }
}

fn refused_report(bundle: &[u8]) -> Report {
    let mut parts = fixture::Parts::of(bundle);
    parts.member("checkpoint")[40] ^= 1;
    let report = report(&parts.file());
    assert!(!report.ok);
    report
}

#[test]
fn a_line_is_canonical_json() {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        d: &'a str,
        seq: u64,
    }
    assert_eq!(
        [&to_canonical(&Line { d: "x", seq: 1 })[..], b"\n"].concat(),
        line(1, "x").into_bytes()
    );
}
