//! Promises of the pack format: what is refused, where that is said to be, and what a pack normalises to.

use std::collections::BTreeMap;

use proptest::prelude::{Strategy, any};

use super::*;
use crate::domain::canonical::{Value, check, parse, to_canonical, write};
use crate::domain::job::{Backoff, Jitter, RetryPolicy};
use crate::limits;

/// Everything that works now.
const FULL: &str = r#"apiVersion: fastness/v1
kind: Pack
metadata: {name: host-inventory, description: What is installed here}
spec:
  inputs:
    root: {type: string, default: /usr/bin, description: Where to look}
    hosts: {type: list, default: [a, 1, true]}
    deep-scan: {type: bool, default: false}
    count: {type: int}
  network: none
  sealed: forbidden
  maxParallel: 4
  timeout: 15m
  env: {LC_ALL: C, TZ: UTC}
  secrets: [SCAN_TOKEN, A_KEY, A_KEY]
  facts: []
  reads: [/var/lib/dpkg, /usr/bin, /usr/bin]
  steps:
    - id: packages
      description: The package database
      run: [dpkg-query, -W, "-f=${Package}\t${Version}\n"]
      artifacts: [{name: packages.tsv, from: stdout}]
    - id: digest
      needs: [scan, packages]
      shell: |
        find "$INPUT_ROOT" -type f > out/digests.txt
      retries: {max: 2, backoff: fixed, initial: 2s, cap: 1m, jitter: none}
      timeout: 5m
      env: {TZ: Europe/Vienna}
      limits: {output: 64MiB}
      artifacts: [{name: digests.txt, path: out/digests.txt}]
    - {id: scan, run: ["true"], secrets: [B_KEY]}
    - id: cleanup
      always: true
      needs: [digest]
      run: [rm, -rf, scratch]
"#;

/// The smallest pack with this step and these further lines in `spec`.
fn small(spec: &str, step: &str) -> String {
    format!("apiVersion: fastness/v1\nkind: Pack\nmetadata: {{name: p}}\nspec:\n{spec}  steps:\n  - {step}\n")
}

fn findings(source: &str) -> Vec<PackError> {
    match PackSpec::parse(source.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.all().to_vec(),
    }
}

fn shown(errors: &[PackError]) -> Vec<String> {
    errors
        .iter()
        .map(|it| format!("{} {} {}:{}", it.code.as_str(), it.pointer, it.line, it.column))
        .collect()
}

#[test]
fn a_full_pack_is_normalised() {
    let spec = PackSpec::parse(FULL.as_bytes()).unwrap();
    assert_eq!(spec.name.as_str(), "host-inventory");
    assert_eq!((spec.max_parallel, spec.timeout_ms), (Some(4), Some(900_000)));
    assert_eq!(spec.reads, ["/usr/bin", "/var/lib/dpkg"]);
    assert_eq!(spec.sealed, SealedUse::Forbidden);
    let names = |names: &[crate::domain::SecretName]| -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(&spec.secrets), ["A_KEY", "SCAN_TOKEN"]);
    assert_eq!(names(&spec.steps[2].secrets), ["B_KEY"]);
    let task = spec.task(&spec.steps[2], &BTreeMap::new());
    assert_eq!(names(&task.secrets), ["A_KEY", "B_KEY", "SCAN_TOKEN"]);
    let digest = &spec.steps[1];
    assert_eq!(
        digest.needs.iter().map(|need| need.as_str()).collect::<Vec<_>>(),
        ["packages", "scan"]
    );
    assert_eq!(
        (
            digest.retries.max,
            digest.retries.initial_ms,
            digest.retries.cap_ms
        ),
        (2, 2_000, 60_000)
    );
    assert_eq!(
        (digest.retries.backoff, digest.retries.jitter),
        (Backoff::Fixed, Jitter::None)
    );
    assert_eq!((digest.timeout_ms, digest.output_bytes_max), (300_000, 64 << 20));
    assert_eq!(spec.steps[0].retries, RetryPolicy::default());
    assert_eq!(spec.steps[0].timeout_ms, limits::TIMEOUT_MS_DEFAULT);
    assert!(spec.steps[3].always);
    assert_eq!(
        spec.steps[0].action,
        Action::Argv(vec![
            "dpkg-query".into(),
            "-W".into(),
            "-f=${Package}\t${Version}\n".into()
        ])
    );
    let bytes = to_canonical(&spec);
    assert!(check(&bytes).is_ok());
    assert_eq!(serde_json::from_slice::<PackSpec>(&bytes).unwrap(), spec);
    assert_eq!(plan_hash(&spec), crate::domain::Digest::of(&bytes));
}

#[test]
fn the_same_definition_in_another_spelling_has_the_same_plan_hash() {
    let yaml = PackSpec::parse(FULL.as_bytes()).unwrap();
    let tree: serde_json::Value = serde_saphyr::from_str(FULL).unwrap();
    for json in [
        serde_json::to_string(&tree).unwrap(),
        serde_json::to_string_pretty(&tree).unwrap(),
    ] {
        assert_eq!(
            plan_hash(&PackSpec::parse(json.as_bytes()).unwrap()),
            plan_hash(&yaml)
        );
    }
    let spelled = FULL
        .replace("15m", "900s")
        .replace("64MiB", "65536KiB")
        .replace(
            "needs: [scan, packages]",
            "needs:\n        - packages\n        - \"scan\"",
        )
        .replace("  sealed", "  # a comment\n  sealed");
    assert_eq!(
        plan_hash(&PackSpec::parse(spelled.as_bytes()).unwrap()),
        plan_hash(&yaml)
    );
    let changed = FULL.replace("maxParallel: 4", "maxParallel: 5");
    assert_ne!(
        plan_hash(&PackSpec::parse(changed.as_bytes()).unwrap()),
        plan_hash(&yaml)
    );
}

#[test]
fn json_strings_keep_every_character() {
    let source = r#"{"apiVersion":"fastness/v1","kind":"Pack","metadata":{"name":"p","description":"\ud83d\ude00 \/ \u00e9 \u2028 \""},
	"spec":{"steps":[{"id":"a","run":["printf","a\nb\t\\"]}]}}"#;
    let spec = PackSpec::parse(source.as_bytes()).unwrap();
    assert_eq!(spec.description.as_deref(), Some("😀 / é \u{2028} \""));
    assert_eq!(
        spec.steps[0].action,
        Action::Argv(vec!["printf".into(), "a\nb\t\\".into()])
    );
}

#[test]
fn every_wrong_field_is_named_with_its_place() {
    let step = "{id: a, run: [x]}";
    let cases: Vec<(String, &str)> = vec![
        (
            small("  maxparallel: 4\n", step),
            "unknown_field /spec/maxparallel 5:3",
        ),
        (
            small("  maxParallel: 0\n", step),
            "out_of_range /spec/maxParallel 5:16",
        ),
        (
            small("  maxParallel: 10001\n", step),
            "out_of_range /spec/maxParallel 5:16",
        ),
        (
            small("  maxParallel: 1.5\n", step),
            "wrong_type /spec/maxParallel 5:16",
        ),
        (
            small("  maxParallel: '4'\n", step),
            "wrong_type /spec/maxParallel 5:16",
        ),
        (small("  timeout: 15\n", step), "wrong_type /spec/timeout 5:12"),
        (
            small("  timeout: 15 m\n", step),
            "invalid_value /spec/timeout 5:12",
        ),
        (
            small("  timeout: 1h30m\n", step),
            "invalid_value /spec/timeout 5:12",
        ),
        (
            small("  timeout: 015m\n", step),
            "invalid_value /spec/timeout 5:12",
        ),
        (small("  timeout: m\n", step), "invalid_value /spec/timeout 5:12"),
        (
            small("  timeout: 99ms\n", step),
            "out_of_range /spec/timeout 5:12",
        ),
        (small("  timeout: 31d\n", step), "out_of_range /spec/timeout 5:12"),
        (
            small("  timeout: 99999999999999999999999d\n", step),
            "out_of_range /spec/timeout 5:12",
        ),
        (
            small("  timeout: 18446744073709551615d\n", step),
            "out_of_range /spec/timeout 5:12",
        ),
        (
            small("  network: lan\n", step),
            "invalid_value /spec/network 5:12",
        ),
        (
            small("  sealed: maybe\n", step),
            "invalid_value /spec/sealed 5:11",
        ),
        (small("  env: {A: 1}\n", step), "wrong_type /spec/env/A 5:12"),
        (small("  env: {1A: x}\n", step), "invalid_name /spec/env/1A 5:9"),
        (small("  env: {A-B: x}\n", step), "invalid_name /spec/env/A-B 5:9"),
        (
            small("  env: {INPUT_X: x}\n", step),
            "invalid_name /spec/env/INPUT_X 5:9",
        ),
        (
            small("  env: {FASTNESS_X: x}\n", step),
            "invalid_name /spec/env/FASTNESS_X 5:9",
        ),
        (small("  env:\n", step), "wrong_type /spec/env 5:6"),
        (small("  reads: [usr]\n", step), "invalid_path /spec/reads/0 5:11"),
        (
            small("  reads: [/usr/../etc]\n", step),
            "invalid_path /spec/reads/0 5:11",
        ),
        (
            small("  inputs: {A: {type: int}}\n", step),
            "invalid_name /spec/inputs/A 5:12",
        ),
        (
            small("  inputs: {a: {}}\n", step),
            "missing_field /spec/inputs/a 5:15",
        ),
        (
            small("  inputs: {a: {type: text}}\n", step),
            "invalid_value /spec/inputs/a/type 5:22",
        ),
        (
            small("  inputs: {a: {type: int, default: x}}\n", step),
            "wrong_type /spec/inputs/a/default 5:36",
        ),
        (
            small("  inputs: {a: {type: list, default: [[]]}}\n", step),
            "wrong_type /spec/inputs/a/default 5:37",
        ),
        (
            small("  inputs: {a: {type: int, required: true}}\n", step),
            "unknown_field /spec/inputs/a/required 5:27",
        ),
        (
            small("", "{id: A, run: [x]}"),
            "invalid_name /spec/steps/0/id 6:10",
        ),
        (
            small("", "{id: 'a[0]', run: [x]}"),
            "invalid_name /spec/steps/0/id 6:10",
        ),
        (small("", "{run: [x]}"), "missing_field /spec/steps/0 6:5"),
        (small("", "{id: a}"), "one_action /spec/steps/0 6:5"),
        (
            small("", "{id: a, run: [x], shell: x}"),
            "one_action /spec/steps/0 6:5",
        ),
        (
            small("", "{id: a, run: []}"),
            "invalid_value /spec/steps/0/run 6:18",
        ),
        (
            small("", "{id: a, run: ['']}"),
            "invalid_value /spec/steps/0/run 6:18",
        ),
        (
            small("", "{id: a, run: [sleep, 5]}"),
            "wrong_type /spec/steps/0/run/1 6:26",
        ),
        (small("", "{id: a, run: x}"), "wrong_type /spec/steps/0/run 6:18"),
        (
            small("", "{id: a, shell: '  '}"),
            "invalid_value /spec/steps/0/shell 6:20",
        ),
        (
            small("", "{id: a, shell: 'echo ${{ inputs.x }}'}"),
            "interpolation_in_shell /spec/steps/0/shell 6:20",
        ),
        (
            small("", "{id: a, run: [x], always: yes}"),
            "wrong_type /spec/steps/0/always 6:31",
        ),
        (
            small("", "{id: a, run: [x], approvers: 2}"),
            "invalid_value /spec/steps/0/approvers 6:34",
        ),
        (
            small("", "{id: a, run: [x], needs: [b]}"),
            "unknown_need /spec/steps/0/needs/0 6:31",
        ),
        (
            small("", "{id: a, run: [x], needs: [a]}"),
            "cycle /spec/steps/0/needs/0 6:31",
        ),
        (
            small("", "{id: a, run: [x]}\n  - {id: a, run: [y]}"),
            "duplicate_name /spec/steps/1/id 7:10",
        ),
        (
            small("", "{id: a, run: [x]}\n  - {id: b, run: [x], needs: [a, a]}"),
            "duplicate_name /spec/steps/1/needs/1 7:34",
        ),
        (
            small("", "{id: a, run: [x], artifacts: [{name: ../x, from: stdout}]}"),
            "invalid_name /spec/steps/0/artifacts/0/name 6:42",
        ),
        (
            small("", "{id: a, run: [x], artifacts: [{name: x, from: stderr}]}"),
            "invalid_value /spec/steps/0/artifacts/0/from 6:51",
        ),
        (
            small("", "{id: a, run: [x], artifacts: [{name: x}]}"),
            "invalid_value /spec/steps/0/artifacts/0 6:35",
        ),
        (
            small(
                "",
                "{id: a, run: [x], artifacts: [{name: x, from: stdout, path: x}]}",
            ),
            "invalid_value /spec/steps/0/artifacts/0 6:35",
        ),
        (
            small("", "{id: a, run: [x], artifacts: [{name: x, path: /x}]}"),
            "invalid_path /spec/steps/0/artifacts/0/path 6:51",
        ),
        (
            small("", "{id: a, run: [x], artifacts: [{name: x, path: a/../x}]}"),
            "invalid_path /spec/steps/0/artifacts/0/path 6:51",
        ),
        (
            small("", "{id: a, run: [x], artifacts: [{name: x, path: ./x}]}"),
            "invalid_path /spec/steps/0/artifacts/0/path 6:51",
        ),
        (
            small("", "{id: a, run: [x], artifacts: [{name: x, path: a//x}]}"),
            "invalid_path /spec/steps/0/artifacts/0/path 6:51",
        ),
        (
            small("", "{id: a, run: [x], artifacts: [{name: x, path: ''}]}"),
            "invalid_path /spec/steps/0/artifacts/0/path 6:51",
        ),
        (
            small(
                "",
                "{id: a, run: [x], artifacts: [{name: x, path: y}, {name: x, path: z}]}",
            ),
            "duplicate_name /spec/steps/0/artifacts/1 6:55",
        ),
        (
            small("", "{id: a, run: [x], retries: {max: 101}}"),
            "out_of_range /spec/steps/0/retries/max 6:38",
        ),
        (
            small("", "{id: a, run: [x], retries: {max: -1}}"),
            "out_of_range /spec/steps/0/retries/max 6:38",
        ),
        (
            small("", "{id: a, run: [x], retries: {initial: 9ms}}"),
            "out_of_range /spec/steps/0/retries/initial 6:42",
        ),
        (
            small("", "{id: a, run: [x], retries: {initial: 9s, cap: 8s}}"),
            "out_of_range /spec/steps/0/retries 6:32",
        ),
        (
            small("", "{id: a, run: [x], retries: {backoff: linear}}"),
            "invalid_value /spec/steps/0/retries/backoff 6:42",
        ),
        (
            small("", "{id: a, run: [x], limits: {output: 2GiB}}"),
            "out_of_range /spec/steps/0/limits/output 6:40",
        ),
        (
            small("", "{id: a, run: [x], limits: {output: 1023B}}"),
            "out_of_range /spec/steps/0/limits/output 6:40",
        ),
        (
            small("", "{id: a, run: [x], limits: {output: 1MB}}"),
            "invalid_value /spec/steps/0/limits/output 6:40",
        ),
        (
            small("", "x").replace("steps:\n  - x", "steps: []"),
            "invalid_value /spec/steps 5:10",
        ),
        (
            FULL.replace("fastness/v1", "fastness/v2"),
            "invalid_value /apiVersion 1:13",
        ),
        (FULL.replace("kind: Pack", "kind: Job"), "invalid_value /kind 2:7"),
        (
            FULL.replace("name: host-inventory", "name: Host"),
            "invalid_name /metadata/name 3:18",
        ),
        (String::new(), "wrong_type  1:1"),
        ("[]".to_owned(), "wrong_type  1:1"),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .map(|(source, expected)| (shown(&findings(source)), expected))
        .filter(|(found, expected)| found != &[**expected])
        .map(|(found, expected)| format!("{expected}: {found:?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn gates_are_read_and_held_to_their_fields() {
    let source = small(
        "",
        "{id: a, gate: approval, approvers: 2}\n  - {id: b, needs: [a], gate: policy, expr: \"true\"}",
    );
    let spec = PackSpec::parse(source.as_bytes()).unwrap();
    assert_eq!(
        spec.steps[0].action,
        Action::Gate(Gate::Approval { approvers: 2 })
    );
    let expr = "true".to_owned();
    assert_eq!(spec.steps[1].action, Action::Gate(Gate::Policy { expr }));
    for (step, pointer) in [
        ("{id: a, gate: approval, approvers: 0}", "/spec/steps/0/approvers"),
        (
            "{id: a, gate: approval, approvers: 11}",
            "/spec/steps/0/approvers",
        ),
        ("{id: a, gate: approval, expr: \"true\"}", "/spec/steps/0/expr"),
        (
            "{id: a, gate: policy, approvers: 1, expr: \"true\"}",
            "/spec/steps/0/approvers",
        ),
        ("{id: a, gate: policy}", "/spec/steps/0"),
        ("{id: a, gate: policy, expr: \"1 +\"}", "/spec/steps/0/expr"),
        (
            "{id: a, gate: policy, expr: inputs.nothing}",
            "/spec/steps/0/expr",
        ),
        ("{id: a, gate: maybe}", "/spec/steps/0/gate"),
        ("{id: a, gate: approval, run: [x]}", "/spec/steps/0"),
        (
            "{id: a, gate: approval, retries: {max: 1}}",
            "/spec/steps/0/retries",
        ),
        (
            "{id: a, gate: approval, map: {over: \"[1]\", as: x}}",
            "/spec/steps/0/map",
        ),
        ("{id: a, gate: approval, timeout: 1s}", "/spec/steps/0/timeout"),
    ] {
        let errors = PackSpec::parse(small("", step).as_bytes()).unwrap_err();
        assert!(
            errors.all().iter().any(|error| error.pointer == pointer),
            "{step}: {errors:?}"
        );
    }
}

#[test]
fn what_comes_later_is_refused_by_name() {
    let step = "{id: a, run: [x]}";
    for (source, pointer) in [
        (
            small("", "{id: a, run: [x], limits: {memory: 1MiB}}"),
            "/spec/steps/0/limits/memory",
        ),
        (
            small("", "{id: a, run: [x], limits: {pids: 4}}"),
            "/spec/steps/0/limits/pids",
        ),
        (
            small("", "{id: a, run: [x], limits: {cpuMillis: 4}}"),
            "/spec/steps/0/limits/cpuMillis",
        ),
        (small("  facts: [sockets]\n", step), "/spec/facts"),
        (small("  network: egress\n", step), "/spec/network"),
        (small("  network: loopback\n", step), "/spec/network"),
        (small("  sealed: required\n", step), "/spec/sealed"),
    ] {
        let errors = findings(&source);
        assert_eq!(errors.len(), 1, "{source}: {errors:?}");
        assert_eq!(
            (errors[0].code, errors[0].pointer.as_str()),
            (PackCode::NotSupported, pointer)
        );
    }
}

#[test]
fn several_findings_come_at_once_in_the_order_of_the_source() {
    let source = FULL
        .replace("maxParallel: 4", "maxParalel: 4")
        .replace("timeout: 5m", "timeout: 5x")
        .replace("needs: [digest]", "needs: [digset]");
    let errors = findings(&source);
    assert_eq!(
        shown(&errors),
        [
            "unknown_field /spec/maxParalel 12:3",
            "invalid_value /spec/steps/1/timeout 28:16",
            "unknown_need /spec/steps/3/needs/0 35:15",
        ]
    );
    assert_eq!(
        errors[0].to_string(),
        "line 12, column 3: there is no field maxParalel; did you mean maxParallel? (/spec/maxParalel)"
    );
    let many = small(
        "",
        &format!(
            "{{id: a, run: [x], {}}}",
            (0..500)
                .map(|n| format!("f{n}: 1"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    );
    assert_eq!(findings(&many).len(), limits::PACK_ERRORS_MAX);
}

#[test]
fn suggestions_are_near_or_absent() {
    for (wrong, expected) in [
        ("max_parallel", "did you mean maxParallel?"),
        ("secret", "did you mean secrets?"),
        ("setps", "did you mean steps?"),
        ("concurrency", "known here: env, facts, inputs"),
    ] {
        let message = findings(&small(&format!("  {wrong}: 1\n"), "{id: a, run: [x]}"))[0]
            .message
            .clone();
        assert!(message.contains(expected), "{wrong}: {message}");
    }
}

#[test]
fn a_cycle_is_shown_from_end_to_end() {
    let steps = "{id: a, run: [x]}\n  - {id: b, run: [x], needs: [a, d]}\n  - {id: c, run: [x], needs: [b]}\n  - {id: d, run: [x], needs: [c]}";
    let errors = findings(&small("", steps));
    assert_eq!(shown(&errors), ["cycle /spec/steps/1/needs/1 7:34"]);
    assert_eq!(
        errors[0].message,
        "these steps wait for each other: b → d → c → b"
    );
    let ring: Vec<String> = (0..9_000)
        .map(|n| format!("{{id: s{n}, run: [x], needs: [s{}]}}", (n + 1) % 9_000))
        .collect();
    let errors = findings(&small("", &ring.join("\n  - ")));
    assert_eq!(errors[0].code, PackCode::Cycle);
    assert!(
        errors[0].message.ends_with("→ … (9000 steps) → s0"),
        "{}",
        errors[0].message
    );
}

#[test]
fn what_is_no_document_of_packs_is_one_finding() {
    let bomb = format!(
        "a: &a [x, x, x, x, x, x, x, x, x]\n{}\n",
        ('b'..='z')
            .map(|letter| {
                let before = char::from(letter as u8 - 1);
                format!(
                    "{letter}: &{letter} [{}]",
                    vec![format!("*{before}"); 9].join(", ")
                )
            })
            .collect::<Vec<_>>()
            .join("\n")
    );
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let block = (0..2_000)
        .map(|n| format!("{}a:\n", " ".repeat(n % 700)))
        .collect::<String>();
    let wide = "- x\n".repeat(limits::PACK_NODES_MAX + 1);
    let big = format!("{}#{}", FULL, "x".repeat(limits::PACK_BYTES_MAX));
    let mut wrong = Vec::new();
    for (source, code, line) in [
        (
            FULL.replace("kind: Pack\n", "kind: Pack\nkind: Pack\n"),
            PackCode::DuplicateKey,
            3,
        ),
        (
            FULL.replace("{LC_ALL: C, TZ: UTC}", "{LC_ALL: C, LC_ALL: C}"),
            PackCode::DuplicateKey,
            14,
        ),
        (format!("{FULL}---\n{FULL}"), PackCode::Syntax, 38),
        (
            FULL.replace("  sealed: forbidden", "\tsealed: forbidden"),
            PackCode::Syntax,
            10,
        ),
        (
            FULL.replace("kind: Pack", "kind: !secret Pack"),
            PackCode::Syntax,
            2,
        ),
        (
            FULL.replace("kind: Pack", "<<: {kind: Pack}"),
            PackCode::Syntax,
            2,
        ),
        (
            FULL.replace("kind: Pack", "kind: \"Pa\\0ck\""),
            PackCode::Syntax,
            2,
        ),
        (FULL.replace("kind: Pack", "kind: *nowhere"), PackCode::Syntax, 2),
        (FULL.replace("kind: Pack", "kind: [Pack"), PackCode::Syntax, 3),
        ("a: &a [*a]".to_owned(), PackCode::Syntax, 1),
        (bomb, PackCode::TooLarge, 6),
        (deep, PackCode::TooLarge, 1),
        (block, PackCode::TooLarge, 17),
        (wide, PackCode::TooLarge, 250_000),
        (big, PackCode::TooLarge, 1),
    ] {
        let errors = findings(&source);
        assert_eq!(errors.len(), 1);
        if (errors[0].code, errors[0].line) != (code, line) {
            wrong.push(format!(
                "{code:?} on line {line}: {:?} {}",
                errors[0].code, errors[0]
            ));
        }
        assert!(!errors[0].message.contains("Options") && !errors[0].message.contains("from_str"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let broken = PackSpec::parse(b"kind: Pack\nname: \xff\n").unwrap_err();
    assert_eq!(
        (broken.all()[0].code, broken.all()[0].line),
        (PackCode::Syntax, 2)
    );
}

#[test]
fn aliases_are_expanded_within_bounds() {
    let source = small(
        "  env: &e {A: x}\n",
        "{id: a, run: [x], env: *e}\n  - {id: b, run: [x], env: *e}",
    );
    let spec = PackSpec::parse(source.as_bytes()).unwrap();
    assert_eq!(spec.steps[0].env, spec.env);
    assert_eq!(spec.steps[1].env, spec.env);
}

#[test]
fn the_limits_of_a_pack_hold_and_one_past_them_does_not() {
    let steps = |count: usize| {
        (0..count)
            .map(|n| format!("{{id: s{n}, run: [x]}}"))
            .collect::<Vec<_>>()
            .join("\n  - ")
    };
    assert_eq!(
        PackSpec::parse(small("", &steps(10_000)).as_bytes())
            .unwrap()
            .steps
            .len(),
        10_000
    );
    assert_eq!(
        shown(&findings(&small("", &steps(10_001)))),
        ["too_large /spec/steps 6:5"]
    );
    let shell = |bytes: usize| small("", &format!("{{id: a, shell: '{}'}}", "x".repeat(bytes)));
    assert!(PackSpec::parse(shell(limits::ARGUMENT_BYTES_MAX).as_bytes()).is_ok());
    assert_eq!(
        shown(&findings(&shell(limits::ARGUMENT_BYTES_MAX + 1))),
        ["too_large /spec/steps/0/shell 6:20"]
    );
    let env = small(&format!("  env: {{A: {}}}\n", "x".repeat(1_000)), &steps(3_000));
    assert_eq!(shown(&findings(&env)), ["too_large /spec/steps 7:5"]);
    let name = "a".repeat(limits::INPUT_NAME_BYTES_MAX);
    let input = |name: &str| {
        small(
            &format!("  inputs: {{{name}: {{type: int, default: 1}}}}\n"),
            "{id: a, run: [x]}",
        )
    };
    assert!(PackSpec::parse(input(&name).as_bytes()).is_ok());
    assert_eq!(
        findings(&input(&format!("{name}a")))[0].code,
        PackCode::InvalidName
    );
}

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

#[test]
fn random_damage_is_refused_or_read_but_never_panics() {
    let config = proptest::test_runner::Config {
        cases: 3_000,
        failure_persistence: None,
        ..Default::default()
    };
    // A failing case is printed whole, which stands in for the seed.
    let strategy = (
        0..FULL.len(),
        0..12_usize,
        any::<u8>().prop_map(|byte| b"{}[]:-,&*!|>'\"\t\n #%x0"[usize::from(byte) % 21]),
    );
    proptest::test_runner::TestRunner::new(config)
        .run(&strategy, |(at, cut, byte)| {
            let mut source = FULL.as_bytes().to_vec();
            source.splice(at..(at + cut).min(source.len()), [byte]);
            if let Err(errors) = PackSpec::parse(&source) {
                assert!(!errors.all().is_empty());
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_published_schema_has_exactly_the_fields_of_the_parser() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../bundles/schemas/pack.schema.json")).unwrap();
    for (mapping, fields) in read::FORMAT {
        let object = if *mapping == "document" {
            &schema
        } else {
            &schema["$defs"][mapping]
        };
        assert_eq!(
            object["additionalProperties"],
            serde_json::Value::Bool(false),
            "{mapping}"
        );
        let mut published: Vec<&str> = object["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        published.sort_unstable();
        assert_eq!(published, *fields, "{mapping}");
    }
    let number = |pointer: &str| {
        schema
            .pointer(pointer)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0) as usize
    };
    assert_eq!(
        number("/$defs/spec/properties/steps/maxItems"),
        limits::RUN_JOBS_MAX
    );
    assert_eq!(
        number("/$defs/spec/properties/maxParallel/maximum"),
        limits::RUN_JOBS_MAX
    );
    assert_eq!(
        number("/$defs/spec/properties/inputs/maxProperties"),
        limits::INPUTS_MAX
    );
    assert_eq!(number("/$defs/spec/properties/reads/maxItems"), limits::READS_MAX);
    assert_eq!(
        number("/$defs/step/properties/artifacts/maxItems"),
        limits::ARTIFACTS_PER_STEP_MAX
    );
    assert_eq!(
        number("/$defs/step/properties/run/maxItems"),
        limits::ARGV_ITEMS_MAX
    );
    assert_eq!(
        number("/$defs/step/properties/shell/maxLength"),
        limits::ARGUMENT_BYTES_MAX
    );
    assert_eq!(number("/$defs/env/maxProperties"), limits::ENV_VARIABLES_MAX);
    assert_eq!(number("/$defs/text/maxLength"), limits::TEXT_BYTES_MAX);
    assert_eq!(
        number("/$defs/retries/properties/max/maximum"),
        limits::RETRIES_MAX as usize
    );
    assert_eq!(
        number("/$defs/input/properties/default/anyOf/3/maxItems"),
        limits::INPUT_ITEMS_MAX
    );
}

#[test]
fn codes_are_distinct() {
    let mut codes: Vec<&str> = PackCode::ALL.iter().map(|code| code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), PackCode::ALL.len());
}
