//! The published schema and the codes.

use super::*;

#[test]
fn the_published_schema_has_exactly_the_fields_of_the_parser() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../../bundles/schemas/pack.schema.json")).unwrap();
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
