//! Canonical JSON: RFC 8785 on a profile where every implementation agrees.
//!
//! Owns the value type without floats, the strict parser, the one writer, and the intake of a user's payload.
//!
//! Promises: what [`write()`] gives, [`check`] accepts; what [`check`] accepts, [`write()`] gives back byte for byte, and so does
//! `jq -cS .`. The profile: integers within ±(2^53−1) and never a fraction, an exponent or `-0`; no duplicate keys; no lone
//! surrogates; no U+007F (some writers escape it, some do not); keys `[A-Za-z0-9_.:-]{1,64}`; depth ≤ 32 (a scalar has
//! depth 0, `[]` has 1). Keys are ASCII, so the order of bytes is the order of UTF-16 units that RFC 8785 asks for.
//!
//! Must never round a number, drop a duplicate, or panic on what comes from outside.

mod error;
mod parse;
mod payload;
mod scalar;
mod scan;
mod serial;
mod text;
mod value;
mod write;

pub use error::{CanonicalError, CanonicalErrorKind};
pub use parse::parse;
pub use payload::{Intake, Payload};
pub use scan::is_canonical;
pub use text::CanonicalText;
pub use value::{Value, key_fits, text_fits};
pub use write::{to_canonical, with_record, write, write_record};

/// Parses bytes that must already be canonical: parse → write has to give them back.
///
/// # Errors
/// Whatever [`parse`] refuses; [`CanonicalErrorKind::NotCanonical`] at the first byte that differs from the canonical form.
pub fn check(bytes: &[u8]) -> Result<Value, CanonicalError> {
    let value = parse(bytes)?;
    let written = write(&value);
    if written == bytes {
        return Ok(value);
    }
    let offset = written
        .iter()
        .zip(bytes)
        .take_while(|(ours, theirs)| ours == theirs)
        .count();
    // Parsing what stands before the difference breaks off exactly there, which tells where in the document that is.
    let pointer = match parse(&bytes[..offset]) {
        Ok(_) => String::new(),
        Err(cut) => cut.pointer,
    };
    Err(CanonicalError::new(
        CanonicalErrorKind::NotCanonical,
        bytes,
        offset,
        pointer,
    ))
}

#[cfg(test)]
mod tests;
