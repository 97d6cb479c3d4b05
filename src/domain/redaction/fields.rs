//! Taking fields out of a value, and putting them back.

use std::collections::{BTreeMap, BTreeSet};

use super::{DIGESTS, Disclosure, Opened, Pointer, read_digest, write_digest};
use crate::domain::Digest;
use crate::domain::canonical::Value;
use crate::domain::redaction::SALT_BYTES;

/// 256 random bits, drawn for one command. Each salt is made of them and its number: who learns some learns nothing of others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; SALT_BYTES]);

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(…)")
    }
}

impl Seed {
    /// Takes the bits.
    pub const fn new(bits: [u8; SALT_BYTES]) -> Self {
        Seed(bits)
    }

    /// The salt of this number.
    pub fn salt(&self, number: u32) -> [u8; SALT_BYTES] {
        let text = [b"fastness salt v1\n".as_slice(), &self.0, &number.to_be_bytes()].concat();
        *Digest::of(&text).as_bytes()
    }
}

/// Draws the salts of one command.
#[derive(Debug, Clone)]
pub struct Salts {
    seed: Seed,
    next: u32,
}

impl Salts {
    /// None drawn so far.
    pub const fn new(seed: Seed) -> Self {
        Salts { seed, next: 0 }
    }

    /// The next one; no two are alike.
    pub fn draw(&mut self) -> [u8; SALT_BYTES] {
        self.next += 1;
        self.seed.salt(self.next)
    }
}

/// Why a value cannot be redacted, or disclosures do not fit it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// Nothing is there.
    #[error("{0} points at nothing")]
    Nothing(Pointer),
    /// An element of a list has no name of its own.
    #[error("{0} points at an element of a list; name the list, or a field inside the element")]
    Element(Pointer),
    /// `_sd` that is no sorted list of digests.
    #[error("_sd is not a sorted list of digests, each once")]
    Digests,
    /// The same digest in two places.
    #[error("a digest stands in two places")]
    Twice,
    /// A disclosure for which no digest stands.
    #[error("a disclosure belongs to no digest here")]
    Unreferenced,
    /// The object has a member of that name already.
    #[error("the field {0} is there already")]
    Taken(String),
    /// The text is no disclosure.
    #[error(transparent)]
    Disclosure(#[from] super::DisclosureError),
}

/// Takes the fields out of `value` at which `pointers` point; one inside another goes with it.
///
/// # Errors
/// The first pointer, in their order, that points at no field; `value` is then unchanged.
pub fn redact(
    value: &mut Value,
    pointers: &BTreeSet<Pointer>,
    salts: &mut Salts,
) -> Result<Vec<Disclosure>, FieldsError> {
    for pointer in pointers {
        look(value, pointer)?;
    }
    let mut made = Vec::new();
    let mut last: Option<&Pointer> = None;
    for pointer in pointers {
        // Sorted by their names: what is covered stands right behind what covers it.
        if last.is_some_and(|last| last.covers(pointer)) {
            continue;
        }
        last = Some(pointer);
        let Some((name, way)) = pointer.parts().split_last() else {
            continue;
        };
        let Some(Value::Object(members)) = walk(value, way) else {
            continue;
        };
        let Some(taken) = members.remove(name) else {
            continue;
        };
        let disclosure = Disclosure::new(&salts.draw(), name, &taken);
        put_digests(members, [disclosure.digest()]);
        made.push(disclosure);
    }
    Ok(made)
}

/// Puts `null` in the place of each field that is there: what is left says nothing of their values.
pub fn blank(value: &mut Value, pointers: &BTreeSet<Pointer>) {
    for pointer in pointers {
        if look(value, pointer).is_err() {
            continue;
        }
        let Some((name, way)) = pointer.parts().split_last() else {
            continue;
        };
        if let Some(Value::Object(members)) = walk(value, way) {
            members.insert(name.clone(), Value::Null);
        }
    }
}

/// Adds digests to those of an object.
pub fn put_digests(members: &mut BTreeMap<String, Value>, digests: impl IntoIterator<Item = Digest>) {
    let mut texts: BTreeSet<String> = digests.into_iter().map(|digest| write_digest(&digest)).collect();
    if let Some(Value::Array(known)) = members.get(DIGESTS) {
        texts.extend(known.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    if !texts.is_empty() {
        let texts = texts.into_iter().map(Value::String).collect();
        members.insert(DIGESTS.to_owned(), Value::Array(texts));
    }
}

/// A field that a disclosure shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Where it stands.
    pub pointer: Pointer,
    /// Its disclosure.
    pub disclosure: Disclosure,
}

/// Puts fields back: all that `disclosures` show. Gives where each stood.
///
/// # Errors
/// A disclosure that belongs to no digest here, or whose field is there already; digests that are none.
pub fn disclose(value: &mut Value, disclosures: &[Disclosure]) -> Result<Vec<Shown>, FieldsError> {
    let mut open: BTreeMap<Digest, (&Disclosure, Opened)> = BTreeMap::new();
    for disclosure in disclosures {
        if open
            .insert(disclosure.digest(), (disclosure, disclosure.open()?))
            .is_some()
        {
            return Err(FieldsError::Twice);
        }
    }
    let mut shown = Vec::new();
    for (way, digests) in references(value)? {
        let Some(Value::Object(members)) = walk(value, &way) else {
            continue;
        };
        let mut left = Vec::new();
        for digest in digests {
            let Some((disclosure, opened)) = open.remove(&digest) else {
                left.push(Value::String(write_digest(&digest)));
                continue;
            };
            if members.contains_key(&opened.name) {
                return Err(FieldsError::Taken(opened.name));
            }
            shown.push(Shown {
                pointer: Pointer::below(&way, &opened.name),
                disclosure: disclosure.clone(),
            });
            members.insert(opened.name, opened.value);
        }
        if left.is_empty() {
            members.remove(DIGESTS);
        } else {
            members.insert(DIGESTS.to_owned(), Value::Array(left));
        }
    }
    if open.is_empty() {
        Ok(shown)
    } else {
        Err(FieldsError::Unreferenced)
    }
}

/// Where digests stand: names on the way to each object that has some, and the digests.
type References = Vec<(Vec<String>, Vec<Digest>)>;

/// Every digest of a value, each once, with the way to its object.
///
/// # Errors
/// `_sd` that is no sorted list of digests; one digest in two places.
pub fn references(value: &Value) -> Result<References, FieldsError> {
    let mut found = Vec::new();
    gather(value, &mut Vec::new(), &mut found)?;
    let mut seen = BTreeSet::new();
    let all = found.iter().flat_map(|(_, digests)| digests);
    for digest in all {
        if !seen.insert(digest) {
            return Err(FieldsError::Twice);
        }
    }
    Ok(found)
}

fn gather(value: &Value, way: &mut Vec<String>, found: &mut References) -> Result<(), FieldsError> {
    match value {
        Value::Object(members) => {
            if let Some(digests) = members.get(DIGESTS) {
                found.push((way.clone(), digests_of(digests)?));
            }
            for (name, value) in members.iter().filter(|(name, _)| *name != DIGESTS) {
                way.push(name.clone());
                gather(value, way, found)?;
                way.pop();
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                way.push(index.to_string());
                gather(value, way, found)?;
                way.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::String(_) => {}
    }
    Ok(())
}

fn digests_of(value: &Value) -> Result<Vec<Digest>, FieldsError> {
    let Value::Array(items) = value else {
        return Err(FieldsError::Digests);
    };
    let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
    let texts = texts.ok_or(FieldsError::Digests)?;
    if texts.is_empty() || texts.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(FieldsError::Digests);
    }
    let digests: Option<Vec<Digest>> = texts.into_iter().map(read_digest).collect();
    digests.ok_or(FieldsError::Digests)
}

/// Looks whether a pointer points at a field.
///
/// # Errors
/// What it points at instead.
pub fn look(value: &Value, pointer: &Pointer) -> Result<(), FieldsError> {
    let nothing = || FieldsError::Nothing(pointer.clone());
    let (name, way) = pointer.parts().split_last().ok_or_else(nothing)?;
    let inside = way.iter().try_fold(value, |at, part| match at {
        Value::Object(members) => members.get(part),
        Value::Array(items) => index_in(part, items.len()).and_then(|index| items.get(index)),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::String(_) => None,
    });
    match inside {
        Some(Value::Object(members)) if members.contains_key(name) => Ok(()),
        Some(Value::Array(items)) if index_in(name, items.len()).is_some() => {
            Err(FieldsError::Element(pointer.clone()))
        }
        _ => Err(nothing()),
    }
}

fn walk<'v>(value: &'v mut Value, way: &[String]) -> Option<&'v mut Value> {
    way.iter().try_fold(value, |at, part| match at {
        Value::Object(members) => members.get_mut(part),
        Value::Array(items) => index_in(part, items.len()).and_then(|index| items.get_mut(index)),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::String(_) => None,
    })
}

/// RFC 6901: digits without leading zeros.
fn index_in(part: &str, len: usize) -> Option<usize> {
    let is_plain = part == "0" || !part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit());
    let index = part.parse().ok().filter(|_| is_plain)?;
    (index < len).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::canonical::{parse, write};

    fn pointers(texts: &[&str]) -> BTreeSet<Pointer> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn seed(byte: u8) -> Seed {
        Seed::new([byte; SALT_BYTES])
    }

    fn redacted(json: &str, at: &[&str]) -> Result<(Value, Vec<Disclosure>), FieldsError> {
        let mut value = parse(json.as_bytes()).unwrap();
        let made = redact(&mut value, &pointers(at), &mut Salts::new(seed(1)))?;
        Ok((value, made))
    }

    const JSON: &str =
        "{\"a\":{\"b\":[{\"c\":\"x\",\"d\":null},{\"c\":[1,{\"e\":true}]}],\"f\":7},\"g\":\"\\u00e9\"}";

    #[test]
    fn what_is_taken_out_and_put_back_is_the_payload_again() {
        let original = parse(JSON.as_bytes()).unwrap();
        // Every set of these fields, those inside one another included.
        let all = [
            "/a",
            "/a/b",
            "/a/b/0/c",
            "/a/b/0/d",
            "/a/b/1/c",
            "/a/b/1/c/1/e",
            "/a/f",
            "/g",
        ];
        for set in 0..1u32 << all.len() {
            let chosen: Vec<&str> = (0..all.len())
                .filter(|bit| set >> bit & 1 == 1)
                .map(|bit| all[bit])
                .collect();
            let (mut value, made) = redacted(JSON, &chosen).unwrap();
            let count: usize = references(&value)
                .unwrap()
                .iter()
                .map(|(_, digests)| digests.len())
                .sum();
            assert_eq!(count, made.len(), "{chosen:?}");
            assert_eq!(value == original, chosen.is_empty());
            let shown = disclose(&mut value, &made).unwrap();
            assert_eq!(write(&value), write(&original), "{chosen:?}");
            let shown: BTreeSet<String> = shown.iter().map(|shown| shown.pointer.to_string()).collect();
            let expected = chosen.iter().filter(|at| {
                !chosen
                    .iter()
                    .any(|other| at.len() > other.len() && at.starts_with(&format!("{other}/")))
            });
            assert_eq!(shown, expected.map(|at| (*at).to_owned()).collect());
        }
    }

    /// Numbers that a seed decides; the seed is in every message.
    struct Drawn(u64);

    impl Drawn {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }

        fn value(&mut self, depth: u64) -> Value {
            match self.below(if depth == 0 { 4 } else { 7 }) {
                0 => Value::Null,
                1 => Value::Bool(true),
                2 => Value::Int(self.below(1 << 40) as i64 - (1 << 39)),
                3 => Value::String(
                    ["", "x", "\u{e9}\u{1f512}", "\"\\\n\u{1}"][self.below(4) as usize].to_owned(),
                ),
                4 => Value::Array((0..self.below(4)).map(|_| self.value(depth - 1)).collect()),
                _ => {
                    let names = ["a", "b", "0", "c.d", "e:f", "_x", "g-h"];
                    let count = self.below(5);
                    let member = |_| (names[self.below(7) as usize].to_owned(), self.value(depth - 1));
                    Value::Object((0..count).map(member).collect())
                }
            }
        }
    }

    fn all_fields(value: &Value, way: &mut Vec<String>, found: &mut Vec<Pointer>) {
        let members: Vec<(String, &Value)> = match value {
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| (name.clone(), value))
                .collect(),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(at, value)| (at.to_string(), value))
                .collect(),
            _ => Vec::new(),
        };
        for (name, inside) in members {
            if matches!(value, Value::Object(_)) {
                found.push(Pointer::below(way, &name));
            }
            way.push(name);
            all_fields(inside, way, found);
            way.pop();
        }
    }

    #[test]
    fn any_payload_comes_back_byte_for_byte() {
        let mut made = 0;
        for round in 0..3_000 {
            let mut drawn = Drawn(round);
            let original = drawn.value(5);
            let mut fields = Vec::new();
            all_fields(&original, &mut Vec::new(), &mut fields);
            fields.retain(|_| drawn.below(2) == 0);
            let (mut value, chosen) = (original.clone(), fields.into_iter().collect());
            let mut disclosures = redact(&mut value, &chosen, &mut Salts::new(seed(3))).unwrap();
            made += disclosures.len();
            // What is recorded is read back as it was written, and the order of disclosures says nothing.
            let mut value = parse(&write(&value)).unwrap();
            disclosures.reverse();
            assert_eq!(
                disclose(&mut value, &disclosures).unwrap().len(),
                disclosures.len(),
                "seed {round}"
            );
            assert_eq!(write(&value), write(&original), "seed {round}");
        }
        assert!(made > 1_000, "{made}");
    }

    #[test]
    fn a_part_of_the_disclosures_shows_a_part_of_the_fields() {
        let (mut value, made) = redacted(JSON, &["/a/f", "/g", "/a/b/0/c"]).unwrap();
        disclose(&mut value, &made[1..2]).unwrap();
        assert_eq!(references(&value).unwrap().len(), 2);
        assert_eq!(disclose(&mut value, &made[1..2]), Err(FieldsError::Unreferenced));
        disclose(&mut value, &[made[0].clone(), made[2].clone()]).unwrap();
        assert_eq!(write(&value), write(&parse(JSON.as_bytes()).unwrap()));
    }

    #[test]
    fn pointers_at_no_field_are_named_and_change_nothing() {
        let nothing = |text: &str| Err(FieldsError::Nothing(text.parse().unwrap()));
        for at in [
            "/x",
            "/a/x",
            "/g/x",
            "/a/b/2/c",
            "/a/b/00/c",
            "/a/b/-/c",
            "/a/b/9",
            "/",
        ] {
            assert_eq!(redacted(JSON, &["/a/f", at]).map(drop), nothing(at), "{at}");
        }
        assert_eq!(
            redacted(JSON, &["/a/b/0"]).map(drop),
            Err(FieldsError::Element("/a/b/0".parse().unwrap()))
        );
        let mut value = parse(JSON.as_bytes()).unwrap();
        redact(
            &mut value,
            &pointers(&["/a/f", "/nothing"]),
            &mut Salts::new(seed(1)),
        )
        .unwrap_err();
        assert_eq!(value, parse(JSON.as_bytes()).unwrap());
    }

    #[test]
    fn salts_differ_by_number_and_by_seed() {
        let salts: BTreeSet<[u8; SALT_BYTES]> = (0..4)
            .flat_map(|byte| (0..64).map(move |number| seed(byte).salt(number)))
            .collect();
        assert_eq!(salts.len(), 256);
        let (_, made) = redacted("{\"a\":1,\"b\":{\"a\":1}}", &["/a", "/b/a"]).unwrap();
        assert_ne!(made[0], made[1], "equal fields have unequal digests");
    }

    #[test]
    fn a_changed_salt_a_second_digest_and_a_taken_name_are_refused() {
        let (value, made) = redacted("{\"a\":1}", &["/a"]).unwrap();
        let altered = Disclosure::new(&[9; SALT_BYTES], "a", &Value::Int(1));
        assert_eq!(
            disclose(&mut value.clone(), &[altered]),
            Err(FieldsError::Unreferenced)
        );
        let twice = [made[0].clone(), made[0].clone()];
        assert_eq!(disclose(&mut value.clone(), &twice), Err(FieldsError::Twice));
        let digest = write_digest(&made[0].digest());
        for (json, expected) in [
            (
                format!("{{\"_sd\":[\"{digest}\"],\"b\":{{\"_sd\":[\"{digest}\"]}}}}"),
                FieldsError::Twice,
            ),
            (
                format!("{{\"_sd\":[\"{digest}\",\"{digest}\"]}}"),
                FieldsError::Digests,
            ),
            ("{\"_sd\":[]}".to_owned(), FieldsError::Digests),
            ("{\"_sd\":\"x\"}".to_owned(), FieldsError::Digests),
            ("{\"_sd\":[1]}".to_owned(), FieldsError::Digests),
            ("{\"_sd\":[\"AAAA\"]}".to_owned(), FieldsError::Digests),
        ] {
            assert_eq!(
                references(&parse(json.as_bytes()).unwrap()),
                Err(expected),
                "{json}"
            );
        }
        let mut taken = parse(format!("{{\"_sd\":[\"{digest}\"],\"a\":2}}").as_bytes()).unwrap();
        assert_eq!(
            disclose(&mut taken, &made),
            Err(FieldsError::Taken("a".to_owned()))
        );
    }
}
