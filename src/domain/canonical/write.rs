//! The one writer of canonical bytes.

use std::cell::Cell;

use serde::Serialize;

use super::Value;

/// The canonical bytes of `value`, without LF. Exact when the value keeps to the profile.
pub fn write(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    write_value(value, &mut out);
    out
}

/// A buffer that grew beyond this is not kept.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The canonical bytes of a record: a serde type whose fields are declared in alphabetical order of their written names,
/// so that writing it is already canonical. Debug builds check that it is.
///
/// # Panics
/// When serialising into memory fails, which no record type of this crate does: they have string keys and no writer of
/// their own that can fail. In debug builds also when the result is not canonical, which is a bug of the type.
pub fn to_canonical<T: Serialize + ?Sized>(record: &T) -> Vec<u8> {
    with_record(record, <[u8]>::to_vec)
}

/// Calls `look` with the canonical bytes of a record, which are gone afterwards.
///
/// # Panics
/// As [`to_canonical`].
pub fn with_record<T: Serialize + ?Sized, R>(record: &T, look: impl FnOnce(&[u8]) -> R) -> R {
    // One buffer per thread, grown once: what is kept is copied out at its own length. Taken, so that a call within a call
    // gets one of its own.
    let mut bytes = SCRATCH.take();
    bytes.clear();
    write_record(record, &mut bytes);
    let seen = look(&bytes);
    if bytes.capacity() <= SCRATCH_BYTES_MAX {
        SCRATCH.set(bytes);
    }
    seen
}

/// The same, behind what `out` has.
///
/// # Panics
/// As [`to_canonical`].
pub fn write_record<T: Serialize + ?Sized>(record: &T, out: &mut Vec<u8>) {
    #[cfg(debug_assertions)]
    let from = out.len();
    serde_json::to_writer(&mut *out, record).expect("a record has string keys and serialises into memory");
    #[cfg(debug_assertions)]
    if let Err(error) = super::check(&out[from..]) {
        panic!(
            "{} is not canonical: {error}: {}",
            std::any::type_name::<T>(),
            String::from_utf8_lossy(&out[from..])
        );
    }
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(number) => write_int(*number, out),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(item, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (index, (key, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write_value(member, out);
            }
            out.push(b'}');
        }
    }
}

/// Digits from the back of a small buffer; `i64::MIN` has no positive twin, hence the unsigned magnitude.
fn write_int(number: i64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.extend_from_slice(&digits[at..]);
}

/// RFC 8785, 3.2.2.2: the two-letter escapes where there is one, `\u00xx` in lower case for other controls, all else as it is.
fn write_string(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    out.push(b'"');
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..at]);
        plain_from = at + 1;
        let letter = match *byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            control => {
                let low = b"0123456789abcdef"[usize::from(control & 15)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (control >> 4), low]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', letter]);
    }
    out.extend_from_slice(&bytes[plain_from..]);
    out.push(b'"');
}
