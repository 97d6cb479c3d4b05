//! Cycles, documents that are none, aliases, limits, and random damage.

use super::*;

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
