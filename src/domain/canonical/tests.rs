//! What canonical bytes must be: tables, properties, and programs of others as oracles.

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;
use crate::limits;

const INTEGER_MAX: i64 = limits::JSON_INTEGER_MAX;

/// A runner whose seed is printed, so that a failure can be run again by setting `FASTNESS_SEED`.
fn runner(cases: u32) -> TestRunner {
    let seed: u64 = std::env::var("FASTNESS_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| std::collections::hash_map::RandomState::new().hash_one_seed());
    println!("FASTNESS_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

trait SeedSource {
    fn hash_one_seed(&self) -> u64;
}

impl<T: std::hash::BuildHasher> SeedSource for T {
    fn hash_one_seed(&self) -> u64 {
        self.hash_one(0_u8)
    }
}

fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => any::<char>(),
        2 => proptest::char::range('\0', '\u{7e}'),
        1 => Just('"'),
        1 => Just('\\'),
        1 => Just('\u{10ffff}'),
        1 => Just('\u{fffe}'),
    ];
    vec(
        character.prop_map(|it| if it == '\u{7f}' { '~' } else { it }),
        0..12,
    )
    .prop_map(|characters| characters.into_iter().collect())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-INTEGER_MAX..=INTEGER_MAX).prop_map(Value::Int),
        (-1_000_i64..1_000).prop_map(Value::Int),
        text().prop_map(Value::String),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            btree_map("[A-Za-z0-9_.:-]{1,8}", inner, 0..6).prop_map(Value::Object),
        ]
    })
}

/// The same value in another spelling: white space, keys backwards, every character as an escape.
fn spell_differently(value: &Value, out: &mut String) {
    let quote = |text: &str, out: &mut String| {
        out.push('"');
        for unit in text.encode_utf16() {
            out.push_str(&format!("\\u{unit:04X}"));
        }
        out.push('"');
    };
    match value {
        Value::Null | Value::Bool(_) | Value::Int(_) => out.push_str(&serde_json::to_string(value).unwrap()),
        Value::String(text) => quote(text, out),
        Value::Array(items) => {
            out.push_str("[ ");
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "\n,\t" } else { "" });
                spell_differently(item, out);
            }
            out.push_str("\r\n]");
        }
        Value::Object(members) => {
            out.push_str("{ ");
            for (index, (key, member)) in members.iter().rev().enumerate() {
                out.push_str(if index > 0 { " ,\n" } else { "" });
                quote(key, out);
                out.push_str(" : ");
                spell_differently(member, out);
            }
            out.push_str(" }");
        }
    }
}

#[test]
fn writing_agrees_with_an_independent_canonicalizer_and_reads_back() {
    runner(3_000)
        .run(&value(), |value| {
            let written = write(&value);
            let oracle = serde_json_canonicalizer::to_vec(&serde_json::to_value(&value).unwrap()).unwrap();
            prop_assert_eq!(
                String::from_utf8_lossy(&written),
                String::from_utf8_lossy(&oracle)
            );
            prop_assert_eq!(check(&written), Ok(value.clone()));
            prop_assert_eq!(to_canonical(&value), written.clone());
            prop_assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), value.clone());
            let mut other = String::new();
            spell_differently(&value, &mut other);
            prop_assert_eq!(parse(other.as_bytes()), Ok(value));
            Ok(())
        })
        .unwrap();
}

#[test]
fn any_one_byte_changed_is_refused_or_is_another_value() {
    let original = write(&parse(br#"{"a":[1,-20,{"b":"x\ny","c":null}],"d":true,"e":"\u00e9"}"#).unwrap());
    let value = parse(&original).unwrap();
    for at in 0..original.len() {
        for byte in 0..=255 {
            let mut changed = original.clone();
            changed[at] = byte;
            if changed != original {
                assert!(
                    check(&changed)
                        .ok()
                        .is_none_or(|other| other != value && write(&other) == changed)
                );
            }
        }
    }
}

#[test]
fn random_bytes_never_panic_and_agree_with_serde_json_on_what_is_json() {
    let alphabet = r#"{}[]",:\ud8dc7f0123456789-.eE+truefalsn/ "#;
    let strategy = prop_oneof![
        vec(any::<u8>(), 0..40),
        vec(proptest::sample::select(alphabet.as_bytes().to_vec()), 0..24),
    ];
    runner(20_000)
        .run(&strategy, |bytes| {
            let is_json = serde_json::from_slice::<serde_json::Value>(&bytes).is_ok();
            let taken = Intake::parse(&bytes);
            // What the oracle takes beyond us: duplicates (last wins) and a raw U+007F.
            let stricter = [
                CanonicalErrorKind::DuplicateKey,
                CanonicalErrorKind::DeleteCharacter,
            ];
            match &taken {
                // serde_json refuses a number beyond the range of a double.
                Ok(payload) => prop_assert!(is_json || matches!(payload, Intake::Text(_)), "{:?}", payload),
                Err(error) => prop_assert!(!is_json || stricter.contains(&error.kind), "{}", error),
            }
            prop_assert_eq!(
                parse(&bytes).ok(),
                match taken {
                    Ok(Intake::Value(value)) => Some(value),
                    Ok(Intake::Text(_)) | Err(_) => None,
                }
            );
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_bad_case_is_refused_with_its_code_and_spot() {
    let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
    let long_key = format!(r#"{{"{}":1}}"#, "k".repeat(65));
    let cases: Vec<(&[u8], &str, usize, &str)> = vec![
        (b"", "json_unexpected_end", 0, ""),
        (b"  ", "json_unexpected_end", 2, ""),
        (br#"{"a":[1,{"b":1.0}]}"#, "json_float", 13, "/a/1/b"),
        (b"1e3", "json_float", 0, ""),
        (b"[0,1E-2]", "json_float", 3, "/1"),
        (b"-0", "json_negative_zero", 0, ""),
        (b"-0.0", "json_float", 0, ""),
        (b"9007199254740992", "json_integer_range", 0, ""),
        (b"-9007199254740992", "json_integer_range", 0, ""),
        (b"-9223372036854775808", "json_integer_range", 0, ""),
        (b"99999999999999999999999999", "json_integer_range", 0, ""),
        (b"01", "json_syntax", 1, ""),
        (b"-", "json_unexpected_end", 1, ""),
        (b"+1", "json_syntax", 0, ""),
        (b".5", "json_syntax", 0, ""),
        (b"1.", "json_unexpected_end", 2, ""),
        (b"1.x", "json_syntax", 2, ""),
        (b"1e", "json_unexpected_end", 2, ""),
        (b"NaN", "json_syntax", 0, ""),
        (b"Infinity", "json_syntax", 0, ""),
        (b"nul", "json_unexpected_end", 3, ""),
        (b"trve", "json_syntax", 2, ""),
        (br#"{"a":1,"a":2}"#, "json_duplicate_key", 7, "/a"),
        (br#"{"x":{"a":1,"\u0061":2}}"#, "json_duplicate_key", 12, "/x/a"),
        (br#""\ud800""#, "json_lone_surrogate", 1, ""),
        (br#""\ud800\u0041""#, "json_lone_surrogate", 1, ""),
        (br#""\ud800\ue000""#, "json_lone_surrogate", 1, ""),
        (br#""\ud800x""#, "json_lone_surrogate", 1, ""),
        (br#"["\udc00"]"#, "json_lone_surrogate", 2, "/0"),
        (br#""\ud8""#, "json_escape", 1, ""),
        (br#""\x41""#, "json_escape", 1, ""),
        (br#""\u+041""#, "json_escape", 1, ""),
        (b"[\"\x7f\"]", "json_delete_character", 2, "/0"),
        (br#"{"k":"\u007f"}"#, "json_delete_character", 6, "/k"),
        (b"\"\n\"", "json_control_character", 1, ""),
        (b"\"\0\"", "json_control_character", 1, ""),
        (br#"{"a/b":1}"#, "json_key", 1, "/a~1b"),
        (br#"{"":1}"#, "json_key", 1, "/"),
        ("{\"é\":1}".as_bytes(), "json_key", 1, "/é"),
        (long_key.as_bytes(), "json_key", 1, ""),
        (deep.as_bytes(), "json_depth", 32, "*"),
        (b"\xef\xbb\xbf{}", "json_byte_order_mark", 0, ""),
        (b"{\"a\":[\"\xc3\"]}", "json_invalid_utf8", 7, "/a/0"),
        (b"\"\xc0\x80\"", "json_invalid_utf8", 1, ""),
        (b"\"\xed\xa0\x80\"", "json_invalid_utf8", 1, ""),
        (b"\"\xf4\x90\x80\x80\"", "json_invalid_utf8", 1, ""),
        (b"{} \xff", "json_invalid_utf8", 3, ""),
        (b"\xff\xfe{\0}\0", "json_invalid_utf8", 0, ""),
        (b"{}x", "json_trailing_bytes", 2, ""),
        (b"1 2", "json_trailing_bytes", 2, ""),
        (b"{}\0", "json_trailing_bytes", 2, ""),
        (b"[1,]", "json_syntax", 3, "/1"),
        (b"[1 2]", "json_syntax", 3, ""),
        (b"[", "json_unexpected_end", 1, "/0"),
        (br#"{"a":1,}"#, "json_syntax", 7, ""),
        (br#"{"a" 1}"#, "json_syntax", 5, "/a"),
        (br#"{a:1}"#, "json_syntax", 1, ""),
        (br#"{'a':1}"#, "json_syntax", 1, ""),
        (b"[1]//", "json_trailing_bytes", 3, ""),
        (b"\x0c1", "json_syntax", 0, ""),
        ("\u{a0}1".as_bytes(), "json_syntax", 0, ""),
        (b"\"abc", "json_unexpected_end", 4, ""),
    ];
    for (bytes, code, offset, pointer) in cases {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        let error = parse(bytes).expect_err(&shown);
        assert_eq!(
            (error.kind.code(), error.offset),
            (code, offset),
            "{shown}: {error}"
        );
        let expected = match (code, pointer) {
            ("json_depth", _) => "/0".repeat(32),
            ("json_key", "") => format!("/{}", "k".repeat(64)),
            (_, pointer) => pointer.to_owned(),
        };
        assert_eq!(error.pointer, expected, "{shown}");
        assert_eq!(check(bytes), Err(error), "{shown}");
    }
}

#[test]
fn a_value_in_another_spelling_is_not_canonical_and_the_first_difference_is_named() {
    let cases: Vec<(&[u8], usize, &str)> = vec![
        (b" 1", 0, ""),
        (b"1\n", 1, ""),
        (br#"{"b":1,"a":2}"#, 2, ""),
        (br#"{"a":{"x":[1, 2]}}"#, 13, "/a/x/1"),
        (br#"["\u0061"]"#, 2, "/0"),
        (br#""\/""#, 1, ""),
        (br#""\u000a""#, 2, ""),
        (br#""\u001F""#, 6, ""),
        (br#""\u00e9""#, 1, ""),
    ];
    for (bytes, offset, pointer) in cases {
        let error = check(bytes).unwrap_err();
        assert_eq!(error.kind, CanonicalErrorKind::NotCanonical);
        assert_eq!(
            (error.offset, error.pointer.as_str()),
            (offset, pointer),
            "{error}"
        );
    }
}

#[test]
fn lines_and_columns_count_from_one_in_characters() {
    let error = parse("{\n  \"a\": 1,\n  \"b\": [\"äö\", 1.5]}".as_bytes()).unwrap_err();
    assert_eq!((error.line, error.column), (3, 15));
    assert_eq!(
        error.to_string(),
        "a number with a fraction or an exponent is not allowed; write it as a string, at line 3, column 15 (/b/1)"
    );
}

#[test]
fn the_limits_hold_and_one_past_them_does_not() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let is_code =
        |text: &str, code: &str| parse(text.as_bytes()).is_err_and(|error| error.kind.code() == code);
    assert_eq!(parse(nested(32).as_bytes()).map(|value| value.depth()), Ok(32));
    assert!(is_code(&nested(33), "json_depth"));
    assert!(is_code(&nested(1_000_000), "json_depth"));
    assert!(serde_json::from_str::<Value>(&nested(32)).is_ok());
    assert!(serde_json::from_str::<Value>(&nested(33)).is_err());
    for good in [INTEGER_MAX, -INTEGER_MAX, 0] {
        assert_eq!(check(good.to_string().as_bytes()), Ok(Value::Int(good)));
    }
    let key = "k".repeat(64);
    assert!(check(format!(r#"{{"{key}":1}}"#).as_bytes()).is_ok());
    assert_eq!(write(&Value::Int(i64::MIN)), b"-9223372036854775808");
}

#[test]
fn serde_refuses_what_the_parser_refuses() {
    for bad in [
        "1.0",
        "1e3",
        "-0",
        "9007199254740992",
        "18446744073709551615",
        "1e999",
        r#"{"a":1,"a":2}"#,
        r#"{"a/b":1}"#,
        r#""\u007f""#,
        r#""\ud800""#,
        "[1,2,[3,{\"x\":0.5}]]",
    ] {
        assert!(serde_json::from_str::<Value>(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_payload_keeps_its_value_or_its_exact_text_or_is_refused() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let kept = [r#"{"b": [1, "x"], "a": null}"#, &nested(24), "0"];
    for text in kept {
        let payload = Payload::parse(text.as_bytes()).unwrap();
        assert_eq!(payload, Payload::of(&parse(text.as_bytes()).unwrap()), "{text}");
        assert!(check(payload.bytes()).is_ok());
    }
    let texts = [
        r#"{ "cvss": 9.8 }"#,
        r#"{"a/b":1}"#,
        "-0",
        "1e400",
        "123456789012345678901234567890",
        r#""\u007f""#,
        &nested(25),
        &nested(128),
    ];
    for text in texts {
        let payload = Payload::parse(text.as_bytes()).unwrap();
        assert_eq!(payload, Payload::Text(text.to_owned()));
        assert_eq!(payload.bytes(), text.as_bytes());
        assert!(to_canonical(&Value::String(text.to_owned())).len() >= text.len());
    }
    for (text, code, pointer) in [
        (
            &br#"{"v":1.5,"a":{"x/y":1,"x\u002fy":2}}"#[..],
            "json_duplicate_key",
            "/a/x~1y",
        ),
        (br#"{"v":1.5,"a":["\ud834"]}"#, "json_lone_surrogate", "/a/0"),
        (b"{\"v\":1.5,\"a\":[\"\xff\"]}", "json_invalid_utf8", "/a/0"),
        (b"[1.5,\"\x7f\"]", "json_delete_character", "/1"),
        (nested(129).as_bytes(), "json_depth", &"/0".repeat(128)),
        (nested(1_000_000).as_bytes(), "json_depth", &"/0".repeat(128)),
        (b"{\"v\":1.5,}", "json_syntax", ""),
    ] {
        let error = Payload::parse(text).unwrap_err();
        assert_eq!((error.kind.code(), error.pointer.as_str()), (code, pointer));
    }
}

/// The examples of RFC 8785 (3.2.2 without its floats; 3.2.3 keeps its strings, its keys are outside the profile).
#[test]
fn the_examples_of_the_rfc_that_fit_the_profile_come_out_as_printed_there() {
    let given =
        r#"{"string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"#;
    let expected = "{\"literals\":[null,true,false],\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
    assert_eq!(
        String::from_utf8(write(&parse(given.as_bytes()).unwrap())).unwrap(),
        expected
    );
    let given =
        r#"["Carriage Return","Euro Sign","\u20ac","\r","\ufb33","1","\ud83d\ude00","\u0080","\u00f6"]"#;
    let expected =
        "[\"Carriage Return\",\"Euro Sign\",\"€\",\"\\r\",\"\u{fb33}\",\"1\",\"😀\",\"\u{80}\",\"ö\"]";
    assert_eq!(
        String::from_utf8(write(&parse(given.as_bytes()).unwrap())).unwrap(),
        expected
    );
}

#[test]
fn jq_writes_the_same_bytes() {
    let mut values: Vec<Value> = [
        "null",
        "[]",
        "{}",
        "[9007199254740991,-9007199254740991,0,-1,100000000000000000,1000000000000000]",
        r#"{"Z":1,"a":2,"_":3,"-":4,".":5,":":6,"0":7,"a1":8,"A":9,"aa":{"b":[],"a":{}}}"#,
        r#"["\u0000\u0001\u001f\b\t\n\f\r\"\\/", "é😀\ufffe\uffff\u2028\u0080", "<>&'"]"#,
    ]
    .into_iter()
    .filter_map(|text| parse(text.as_bytes()).ok())
    .collect();
    assert_eq!(values.len(), 5, "10^17 is beyond the profile");
    let mut runner = runner(1);
    for _ in 0..500 {
        values.push(value().new_tree(&mut runner).unwrap().current());
    }
    let expected: Vec<u8> = values
        .iter()
        .flat_map(|value| [write(value), vec![b'\n']].concat())
        .collect();
    // In another spelling, so that jq has something to do.
    let mut given = String::new();
    for value in &values {
        spell_differently(value, &mut given);
        given.push('\n');
    }
    for input in [expected.clone(), given.into_bytes()] {
        let mut jq = Command::new("jq")
            .args(["-cS", "."])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("jq is installed where the tests run");
        let mut stdin = jq.stdin.take().unwrap();
        let feeder = std::thread::spawn(move || stdin.write_all(&input));
        let output = jq.wait_with_output().unwrap();
        feeder.join().unwrap().unwrap();
        assert!(output.status.success());
        let (ours, theirs) = (
            String::from_utf8(expected.clone()).unwrap(),
            String::from_utf8(output.stdout).unwrap(),
        );
        for (ours, theirs) in ours.lines().zip(theirs.lines()) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(ours.len(), theirs.len());
    }
}

#[test]
fn codes_are_distinct() {
    let mut codes: Vec<&str> = CanonicalErrorKind::ALL.iter().map(|kind| kind.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), CanonicalErrorKind::ALL.len());
}

#[test]
#[should_panic(expected = "is not canonical")]
#[cfg(debug_assertions)]
fn a_record_with_fields_out_of_order_is_caught_in_debug_builds() {
    #[derive(serde::Serialize)]
    struct Wrong {
        b: u8,
        a: u8,
    }
    to_canonical(&Wrong { b: 1, a: 2 });
}

#[test]
fn a_canonical_text_is_read_only_from_canonical_bytes() {
    let text = r#"{"a":[1,"x"],"b":null}"#;
    let read: CanonicalText = serde_json::from_str(text).unwrap();
    assert_eq!(read, CanonicalText::of(&parse(text.as_bytes()).unwrap()));
    assert_eq!(to_canonical(&read), text.as_bytes());
    for bad in [r#"{"b":1,"a":2}"#, r#"{"a": 1}"#, "1.0", r#"{"a":1,"a":1}"#] {
        assert!(serde_json::from_str::<CanonicalText>(bad).is_err(), "{bad}");
    }
}
