//! Fields that are wrong, or not built yet, are named with their place.

use super::*;

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
