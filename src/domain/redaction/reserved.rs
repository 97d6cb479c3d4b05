//! Names that nobody outside may use in a payload, since they would look like a redaction.

use super::{DIGESTS, ELEMENT};

/// The first key of the text, valid JSON, that is reserved. One look at each byte, whatever the nesting; keys written with
/// escapes are found too.
pub fn reserved_name(json: &str) -> Option<&'static str> {
    let is_free = !json.contains("_sd\"") && !json.contains("...\"") && !json.contains('\\');
    if is_free {
        return None;
    }
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(open) = find(bytes, at) {
        let mut end = open + 1;
        while bytes.get(end).is_some_and(|byte| *byte != b'"') {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        at = end + 1;
        let behind = bytes.get(at..).unwrap_or_default();
        let is_key = behind.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
        // The longest way to write a reserved name is an escape for each letter.
        if is_key && end - open <= 6 * DIGESTS.len() + 1 {
            let name = json
                .get(open..at)
                .and_then(|text| serde_json::from_str::<String>(text).ok());
            let reserved = [DIGESTS, ELEMENT].into_iter();
            let found = reserved
                .into_iter()
                .find(|reserved| name.as_deref() == Some(*reserved));
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.iter().position(|byte| *byte == b'"').map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_keys_are_found_wherever_and_however_they_are_written() {
        for (json, expected) in [
            ("{\"_sd\":[]}", Some("_sd")),
            ("[{\"a\":{\"_sd\" : 1.5}}]", Some("_sd")),
            ("{\"\\u005fsd\":1}", Some("_sd")),
            ("{\"\\u005f\\u0073\\u0064\":1}", Some("_sd")),
            ("{\"a\\\"\":1,\"...\":2}", Some("...")),
            ("{\"\\u002e..\":2}", Some("...")),
            ("{\"a\":\"_sd\"}", None),
            ("{\"a\":\"\\\"_sd\\\":\"}", None),
            ("[\"_sd\",\"...\"]", None),
            ("{\"x_sd\":1,\"_sd_\":2,\"....\":3}", None),
            ("\"_sd\"", None),
            ("{}", None),
        ] {
            assert_eq!(reserved_name(json), expected, "{json}");
        }
    }
}
