//! Promises of the pack format: what is refused, where that is said to be, and what a pack normalises to.

use std::collections::BTreeMap;

use proptest::prelude::{Strategy, any};

use super::*;
use crate::domain::canonical::{Value, check, parse, to_canonical, write};
use crate::domain::job::{Backoff, Jitter, RetryPolicy};
use crate::limits;

mod bounds;
mod fields;
mod inputs;
mod schema;

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
