//! Inputs, and what a task carries.

use super::*;

fn inputs(text: &str) -> BTreeMap<String, Value> {
    match parse(text.as_bytes()) {
        Ok(Value::Object(members)) => members,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn inputs_are_filled_in_and_checked() {
    let spec = PackSpec::parse(FULL.as_bytes()).unwrap();
    let resolved = resolve_inputs(&spec, &inputs(r#"{"count":3,"deep-scan":true}"#)).unwrap();
    let expected = inputs(r#"{"count":3,"deep-scan":true,"hosts":["a",1,true],"root":"/usr/bin"}"#);
    assert_eq!(resolved, expected);
    let big = format!(
        r#"{{"count":1,"root":"{}"}}"#,
        "x".repeat(limits::INPUTS_BYTES_MAX)
    );
    let long = format!(r#"{{"count":1,"hosts":[{}]}}"#, vec!["1"; 1_001].join(","));
    for (given, code, pointer) in [
        ("{}", "missing_input", "/inputs/count"),
        (r#"{"count":1,"rot":"x"}"#, "unknown_input", "/inputs/rot"),
        (r#"{"count":"1"}"#, "invalid_input", "/inputs/count"),
        (r#"{"count":null}"#, "invalid_input", "/inputs/count"),
        (
            r#"{"count":1,"deep-scan":0}"#,
            "invalid_input",
            "/inputs/deep-scan",
        ),
        (r#"{"count":1,"root":1}"#, "invalid_input", "/inputs/root"),
        (
            r#"{"count":1,"root":"a\u0000b"}"#,
            "invalid_input",
            "/inputs/root",
        ),
        (r#"{"count":1,"hosts":"x"}"#, "invalid_input", "/inputs/hosts"),
        (r#"{"count":1,"hosts":[[]]}"#, "invalid_input", "/inputs/hosts"),
        (&long, "invalid_input", "/inputs/hosts"),
        (&big, "too_large", "/inputs"),
    ] {
        let error = resolve_inputs(&spec, &inputs(given)).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.pointer.as_deref()),
            (code, Some(pointer)),
            "{error}"
        );
    }
}

#[test]
fn a_task_carries_all_that_a_runner_needs() {
    let spec = PackSpec::parse(FULL.as_bytes()).unwrap();
    let resolved = resolve_inputs(&spec, &inputs(r#"{"count":3}"#)).unwrap();
    let tasks: Vec<String> = spec
        .steps
        .iter()
        .map(|step| {
            let task = spec.task(step, &resolved);
            let bytes = write(&task.value());
            assert_eq!(to_canonical(&task), bytes);
            assert_eq!(StepTask::parse(&bytes).unwrap(), task);
            String::from_utf8(bytes).unwrap()
        })
        .collect();
    let env = |zone: &str| {
        format!(
            r#""env":{{"INPUT_COUNT":"3","INPUT_DEEP_SCAN":"false","INPUT_HOSTS":"[\"a\",1,true]","INPUT_ROOT":"/usr/bin","LC_ALL":"C","TZ":"{zone}"}}"#
        )
    };
    assert_eq!(
        tasks[1],
        format!(
            r#"{{"action":{{"shell":"find \"$INPUT_ROOT\" -type f > out/digests.txt\n"}},"artifacts":[{{"name":"digests.txt","path":"out/digests.txt"}}],{},"outputBytesMax":67108864,"pack":"host-inventory","secrets":["A_KEY","SCAN_TOKEN"],"step":"digest","timeoutMs":300000}}"#,
            env("Europe/Vienna")
        )
    );
    assert_eq!(
        tasks[0],
        format!(
            r#"{{"action":{{"argv":["dpkg-query","-W","-f=${{Package}}\t${{Version}}\n"]}},"artifacts":[{{"from":"stdout","name":"packages.tsv"}}],{},"outputBytesMax":1073741824,"pack":"host-inventory","secrets":["A_KEY","SCAN_TOKEN"],"step":"packages","timeoutMs":3600000}}"#,
            env("UTC")
        )
    );
    for bad in [
        r#"{"action":{"argv":[]},"outputBytesMax":1,"pack":"p","step":"a","timeoutMs":1}"#,
        r#"{"action":{"argv":["x"],"shell":"x"},"outputBytesMax":1,"pack":"p","step":"a","timeoutMs":1}"#,
        r#"{"action":{"argv":["x"]},"artifacts":[{"name":"x"}],"outputBytesMax":1,"pack":"p","step":"a","timeoutMs":1}"#,
        "{}",
    ] {
        assert!(StepTask::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let bent =
        r#"{"action":{"argv":["x"]},"outputBytesMax":99999999999,"pack":"p","step":"a","timeoutMs":1}"#;
    let task = StepTask::parse(bent.as_bytes()).unwrap();
    assert_eq!(
        (task.timeout_ms, task.output_bytes_max),
        (limits::TIMEOUT_MS_MIN, limits::STEP_LOG_BYTES_MAX)
    );
}
