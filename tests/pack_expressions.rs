//! Expressions in packs: what is refused when a pack is registered, and what they come to.

use std::collections::BTreeMap;

use fastness::domain::canonical::{Value, parse};
use fastness::domain::pack::{Facts, PackSpec, Resolution, step_facts};

fn pack(step: &str) -> String {
    format!(
        "apiVersion: fastness/v1\nkind: Pack\nmetadata: {{name: p}}\nspec:\n  inputs:\n    hosts: {{type: list, default: []}}\n    \
         n: {{type: int, default: 3}}\n    root-dir: {{type: string, default: /usr}}\n  steps:\n    - {{id: first, run: [x]}}\n    \
         - {{id: other, run: [x]}}\n    - {{id: a, needs: [first], {step}}}\n"
    )
}

fn refusals(step: &str) -> Vec<String> {
    let errors = PackSpec::parse(pack(step).as_bytes()).unwrap_err();
    let shown = errors.all().iter();
    shown
        .map(|error| {
            format!(
                "{}:{} {} {}",
                error.line,
                error.column,
                error.code.as_str(),
                error.pointer
            )
        })
        .collect()
}

#[test]
fn what_an_expression_cannot_be_is_refused_with_its_place() {
    let long = format!("'{}'", ["n"; 2_100].join("+").replace('n', "inputs.n"));
    let nodes = ["inputs.n"; 140].join(" + ");
    for (step, code) in [
        ("run: [x], when: 'inputs.'", "invalid_expression"),
        ("run: [x], when: '1.5 > 1.0'", "invalid_expression"),
        ("run: [x], when: 'steps == inputs'", "invalid_expression"),
        ("run: [x], when: 'nothing == 1'", "invalid_expression"),
        ("run: [x], when: 'inputs[inputs.n] == 1'", "invalid_expression"),
        ("run: [x], when: 'run.id.matches(\"a*\")'", "invalid_expression"),
        (
            "run: [x], when: 'inputs.hosts.all(h, inputs.hosts.exists(g, g == h))'",
            "invalid_expression",
        ),
        (
            "run: [x], when: 'inputs.hosts.map(h, h).exists(g, g == 1)'",
            "invalid_expression",
        ),
        (
            "run: [x], when: 'inputs.hosts.exists(h, h + inputs.n == 1)'",
            "invalid_expression",
        ),
        ("run: [x], when: 'steps.exists(s, s == 1)'", "invalid_expression"),
        ("run: [x], when: '{1: 2} == {1: 2}'", "invalid_expression"),
        (&format!("run: [x], when: {long}"), "invalid_expression"),
        (&format!("run: [x], when: '{nodes} > 1'"), "invalid_expression"),
        ("run: [x], when: 'inputs.none == 1'", "unknown_reference"),
        ("run: [x], when: 'steps.other.status == 1'", "unknown_reference"),
        (
            "run: [x], when: 'item == 1', map: {over: inputs.hosts, as: item}",
            "invalid_expression",
        ),
        ("run: [x], map: {over: inputs.hosts, as: steps}", "invalid_name"),
        ("run: ['${{ inputs.n']", "invalid_expression"),
        ("run: ['${{ item }}']", "invalid_expression"),
        ("run: [x], env: {A: '${{ }}'}", "invalid_expression"),
        ("shell: 'echo ${{ inputs.n }}'", "interpolation_in_shell"),
    ] {
        let found = refusals(step);
        assert!(
            found.len() == 1 && found[0].contains(&format!(" {code} /spec/steps/2/")),
            "{step}: {found:?}"
        );
        assert!(found[0].starts_with("12:"), "{step}: {found:?}");
    }
}

fn resolve(step: &str, facts: &Facts) -> Result<Resolution, String> {
    let spec = PackSpec::parse(pack(step).as_bytes()).unwrap_or_else(|errors| panic!("{step}: {errors}"));
    spec.resolve(&spec.steps[2], facts)
}

fn facts() -> Facts {
    let value = |text: &str| parse(text.as_bytes()).unwrap();
    Facts {
        inputs: BTreeMap::from([
            ("hosts".to_owned(), value(r#"["a","b"]"#)),
            ("n".to_owned(), Value::Int(3)),
            ("root-dir".to_owned(), Value::from("/usr")),
        ]),
        item: None,
        run: BTreeMap::from([("id".to_owned(), Value::from("r-1"))]),
        steps: BTreeMap::from([(
            "first".to_owned(),
            step_facts("completed", value(r#"{"count":"7","name":"x y"}"#)),
        )]),
    }
}

#[track_caller]
fn argv(step: &str) -> Vec<String> {
    match resolve(step, &facts()).unwrap() {
        Resolution::One(task) => task.argv(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn expressions_are_filled_in_as_one_argument_each() {
    let step = "run: [echo, '${{ steps.first.outputs.name }}', 'n=${{ inputs.n + 1 }},${{ sealed }}', \
                '${{ inputs[\"root-dir\"] + \"/x; rm -rf /\" }}', '${{ int(steps.first.outputs.count) * 2 }}', '${{ run.id }}']";
    assert_eq!(
        argv(step),
        ["echo", "x y", "n=4,false", "/usr/x; rm -rf /", "14", "r-1"]
    );
    let step = "run: [x], env: {A: '${{ steps.first.status }}'}";
    match resolve(step, &facts()).unwrap() {
        Resolution::One(task) => assert_eq!(task.env["A"], "completed"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_condition_skips_and_a_map_makes_one_task_for_each_item() {
    let skipped = |reason| Ok(Resolution::Skipped(reason));
    assert_eq!(
        resolve("run: [x], when: 'size(inputs.hosts) > 2'", &facts()),
        skipped("condition")
    );
    let none = "run: [x], map: {over: 'inputs.hosts.filter(h, h == \"z\")', as: host}";
    assert_eq!(resolve(none, &facts()), skipped("empty_map"));
    let step = "run: [ping, '${{ host }}.lan'], map: {over: inputs.hosts, as: host}";
    let Resolution::Mapped(tasks) = resolve(step, &facts()).unwrap() else {
        panic!("it is mapped")
    };
    let shown: Vec<_> = tasks
        .iter()
        .map(|task| (task.step.to_string(), task.argv()))
        .collect();
    let words = |host: &str| vec!["ping".to_owned(), host.to_owned()];
    assert_eq!(
        shown,
        [
            ("a[0]".to_owned(), words("a.lan")),
            ("a[1]".to_owned(), words("b.lan"))
        ]
    );
}

#[test]
fn what_has_no_value_there_says_where_and_why() {
    for (step, expected) in [
        (
            "run: [x], when: '1'",
            "when: it comes to something that is not a truth value",
        ),
        (
            "run: [x], when: 'steps.first.outputs.none == 1'",
            "when: No such key: none",
        ),
        (
            "run: [x], map: {over: inputs.n, as: h}",
            "map.over: it comes to something that is not a list",
        ),
        (
            "run: ['${{ inputs.hosts }}']",
            "run: ${{ }} takes text, an integer or a truth value",
        ),
        (
            "run: [x], env: {A: '${{ 9007199254740991 + 1 }}'}",
            "env/A: it comes to an integer beyond",
        ),
        ("run: [x], when: 'inputs.n / 0 == 1'", "when: Division by zero"),
        (
            "run: [x], when: 'steps.first.outputs.exists(k, k == \"count\")'",
            "when: the outputs of first are no list",
        ),
    ] {
        let error = resolve(step, &facts()).unwrap_err();
        assert!(error.starts_with(expected), "{step}: {error}");
    }
    let many = Facts {
        inputs: BTreeMap::from([("hosts".to_owned(), Value::Array(vec![Value::Int(1); 1_000]))]),
        ..facts()
    };
    let Ok(Resolution::Mapped(tasks)) = resolve("run: [x], map: {over: inputs.hosts, as: h}", &many) else {
        panic!("a thousand items are mapped")
    };
    assert_eq!(tasks.len(), 1_000);
    let error = resolve("run: [x], map: {over: 'inputs.hosts + [1]', as: h}", &many).unwrap_err();
    assert_eq!(error, "map.over: it comes to more than 1000 items");
}
