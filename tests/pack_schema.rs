//! The published JSON Schema of packs says what the parser says.
//!
//! The validator here knows exactly the keywords that the schema uses, and fails at any other.

use fastness::domain::pack::{PackSpec, SCHEMA};
use regex::Regex;
use serde_json::{Value, json};

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// The first place at which `value` does not have the shape; none when it has.
pub fn refusal(root: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    let keywords = schema.as_object().unwrap();
    keywords.iter().find_map(|(keyword, wanted)| {
        let good = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" | "default" | "examples" => true,
            "$ref" => {
                let pointer = wanted.as_str().unwrap().trim_start_matches('#');
                return refusal(root, root.pointer(pointer).unwrap(), value, at);
            }
            "properties" | "additionalProperties" | "propertyNames" | "items" => {
                return inner(root, keywords, keyword, value, at);
            }
            "type" => is_type(wanted, value),
            "const" => wanted == value,
            "enum" => wanted.as_array().unwrap().contains(value),
            "pattern" => value
                .as_str()
                .is_none_or(|text| Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text)),
            "format" => {
                assert_eq!(wanted, "uuid", "the validator knows no other format");
                let uuid = Regex::new("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$").unwrap();
                value.as_str().is_none_or(|text| uuid.is_match(text))
            }
            "required" => value.as_object().is_none_or(|object| {
                let mut names = wanted.as_array().unwrap().iter();
                names.all(|name| object.contains_key(name.as_str().unwrap()))
            }),
            "oneOf" => branches(root, wanted, value, at) == 1,
            "anyOf" => branches(root, wanted, value, at) > 0,
            "not" => refusal(root, wanted, value, at).is_some(),
            "minimum" => value
                .as_i64()
                .is_none_or(|number| number >= wanted.as_i64().unwrap()),
            "maximum" => value
                .as_i64()
                .is_none_or(|number| number <= wanted.as_i64().unwrap()),
            "minLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() >= size(wanted)),
            "maxLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() <= size(wanted)),
            "minItems" => value.as_array().is_none_or(|items| items.len() >= size(wanted)),
            "maxItems" => value.as_array().is_none_or(|items| items.len() <= size(wanted)),
            "maxProperties" => value
                .as_object()
                .is_none_or(|object| object.len() <= size(wanted)),
            "uniqueItems" => value.as_array().is_none_or(|items| {
                let mut seen: Vec<String> = items.iter().map(Value::to_string).collect();
                seen.sort();
                seen.windows(2).all(|pair| pair[0] != pair[1])
            }),
            other => panic!("the validator does not know {other}"),
        };
        (!good).then(|| format!("{at}: {keyword}"))
    })
}

fn inner(
    root: &Value,
    keywords: &serde_json::Map<String, Value>,
    keyword: &str,
    value: &Value,
    at: &str,
) -> Option<String> {
    let wanted = &keywords[keyword];
    if keyword == "items" {
        let mut items = value.as_array()?.iter().enumerate();
        return items.find_map(|(index, item)| refusal(root, wanted, item, &format!("{at}/{index}")));
    }
    value.as_object()?.iter().find_map(|(name, member)| {
        let below = format!("{at}/{name}");
        let known = keywords.get("properties").and_then(|known| known.get(name));
        match (keyword, known, wanted) {
            ("properties", Some(shape), _) => refusal(root, shape, member, &below),
            ("propertyNames", _, shape) => refusal(root, shape, &json!(name), &below),
            ("additionalProperties", None, Value::Bool(false)) => Some(format!("{below}: unknown")),
            ("additionalProperties", None, shape) => refusal(root, shape, member, &below),
            _ => None,
        }
    })
}

fn branches(root: &Value, wanted: &Value, value: &Value, at: &str) -> usize {
    let branches = wanted.as_array().unwrap().iter();
    branches
        .filter(|branch| refusal(root, branch, value, at).is_none())
        .count()
}

fn is_type(wanted: &Value, value: &Value) -> bool {
    if let Some(several) = wanted.as_array() {
        return several.iter().any(|one| is_type(one, value));
    }
    match wanted.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        other => panic!("the validator does not know the type {other}"),
    }
}

fn size(wanted: &Value) -> usize {
    usize::try_from(wanted.as_u64().unwrap()).unwrap()
}

fn accepts(pack: &Value) -> Result<(), String> {
    let schema = schema();
    refusal(&schema, &schema, pack, "").map_or(Ok(()), Err)
}

/// A pack with one step.
fn of_step(step: Value) -> Value {
    json!({"apiVersion": "fastness/v1", "kind": "Pack", "metadata": {"name": "p"}, "spec": {"steps": [step]}})
}

fn with_spec(field: &str, value: Value) -> Value {
    let mut pack = of_step(json!({"id": "a", "run": ["true"]}));
    pack["spec"][field] = value;
    pack
}

#[test]
fn the_schema_accepts_every_bundled_pack() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles/packs");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        PackSpec::parse(text.as_bytes()).unwrap();
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(accepts(&value), Ok(()), "{}", path.display());
        count += 1;
    }
    assert!(count >= 3, "the packs are there");
}

#[test]
fn schema_and_parser_agree() {
    let good = [
        of_step(json!({"id": "a", "run": ["true"]})),
        of_step(json!({"id": "a", "shell": "echo $INPUT_X", "timeout": "5m", "always": true})),
        of_step(
            json!({"id": "a", "run": ["x"], "retries": {"max": 0, "backoff": "fixed", "jitter": "none"}}),
        ),
        of_step(json!({"id": "a", "run": ["x"], "limits": {"output": "64MiB"}})),
        of_step(json!({"id": "a", "run": ["x"], "artifacts": [{"name": "o.txt", "from": "stdout"}]})),
        of_step(json!({"id": "a", "run": ["x"], "artifacts": [{"name": "o.txt", "path": "out/o.txt"}]})),
        with_spec(
            "inputs",
            json!({"root": {"type": "string", "default": "/usr"}, "n": {"type": "int"}}),
        ),
        with_spec("maxParallel", json!(4)),
        with_spec("env", json!({"LC_ALL": "C"})),
        with_spec("reads", json!(["/var/lib/dpkg"])),
        with_spec("sealed", json!("forbidden")),
        with_spec("secrets", json!([])),
        with_spec("secrets", json!(["SCAN_TOKEN", "key_2"])),
        of_step(json!({"id": "a", "run": ["x"], "secrets": ["SCAN_TOKEN"]})),
        of_step(json!({"id": "a", "run": ["x", "${{ run.id }}"], "when": "!sealed"})),
        of_step(
            json!({"id": "a", "run": ["x", "${{ h }}"], "map": {"over": "[1, 2]", "as": "h", "maxParallel": 2}}),
        ),
    ];
    for pack in good {
        assert_eq!(accepts(&pack), Ok(()), "{pack}");
        let parsed = PackSpec::parse(pack.to_string().as_bytes());
        assert!(parsed.is_ok(), "{pack}: {parsed:?}");
    }
    let bad = [
        json!({"apiVersion": "fastness/v2", "kind": "Pack", "metadata": {"name": "p"}, "spec": {"steps": []}}),
        json!({"kind": "Pack", "metadata": {"name": "p"}, "spec": {"steps": [{"id": "a", "run": ["x"]}]}}),
        json!([]),
        of_step(json!({"run": ["true"]})),
        of_step(json!({"id": "A", "run": ["true"]})),
        of_step(json!({"id": "a"})),
        of_step(json!({"id": "a", "run": []})),
        of_step(json!({"id": "a", "run": "true"})),
        of_step(json!({"id": "a", "run": ["x"], "shell": "y"})),
        of_step(json!({"id": "a", "run": ["x"], "tiemout": "5m"})),
        of_step(json!({"id": "a", "run": ["x"], "timeout": "5 m"})),
        of_step(json!({"id": "a", "run": ["x"], "timeout": 300})),
        of_step(json!({"id": "a", "run": ["x"], "needs": ["b", "b"]})),
        of_step(json!({"id": "a", "run": ["x"], "always": "yes"})),
        of_step(json!({"id": "a", "run": ["x"], "retries": {"max": 101}})),
        of_step(json!({"id": "a", "run": ["x"], "limits": {"output": "1MB"}})),
        of_step(json!({"id": "a", "run": ["x"], "artifacts": [{"name": "o"}]})),
        of_step(json!({"id": "a", "run": ["x"], "artifacts": [{"name": "o", "path": "/o"}]})),
        of_step(json!({"id": "a", "run": ["x"], "env": {"INPUT_X": "y"}})),
        with_spec("inputs", json!({"Root": {"type": "string"}})),
        with_spec("inputs", json!({"root": {"type": "text"}})),
        with_spec("maxParallel", json!(0)),
        with_spec("network", json!("all")),
        with_spec("reads", json!(["var"])),
        with_spec("unknown", json!(1)),
        with_spec("secrets", json!(["SCAN-TOKEN"])),
        with_spec("secrets", json!("SCAN_TOKEN")),
        of_step(json!({"id": "a", "run": ["x"], "secrets": ["../x"]})),
        of_step(json!({"id": "a", "run": ["x"], "when": true})),
        of_step(json!({"id": "a", "run": ["x"], "map": {"over": "[1]"}})),
        of_step(json!({"id": "a", "run": ["x"], "map": {"over": "[1]", "as": "H"}})),
        of_step(json!({"id": "a", "run": ["x"], "map": {"over": "[1]", "as": "h", "maxParallel": 0}})),
    ];
    for pack in bad {
        assert!(accepts(&pack).is_err(), "the schema takes {pack}");
        assert!(
            PackSpec::parse(pack.to_string().as_bytes()).is_err(),
            "the parser takes {pack}"
        );
    }
}
