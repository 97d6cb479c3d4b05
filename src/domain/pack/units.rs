//! Durations and sizes as packs write them: a whole number with one unit.

use super::error::{Findings, PackCode};
use super::fields::Cursor;

const DURATIONS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// A duration in milliseconds, within bounds.
pub(super) fn duration_ms(at: &Cursor<'_>, (min, max): (u64, u64), log: &mut Findings) -> Option<u64> {
    quantity(
        at,
        &DURATIONS,
        (min, max),
        "a duration like 500ms, 30s, 15m, 2h or 1d",
        log,
    )
}

/// A size in bytes, within bounds.
pub(super) fn size_bytes(at: &Cursor<'_>, (min, max): (u64, u64), log: &mut Findings) -> Option<u64> {
    quantity(
        at,
        &SIZES,
        (min, max),
        "a size like 512B, 64KiB, 16MiB or 1GiB",
        log,
    )
}

fn quantity(
    at: &Cursor<'_>,
    units: &[(&str, u64)],
    (min, max): (u64, u64),
    expected: &str,
    log: &mut Findings,
) -> Option<u64> {
    let text = at.text(log)?;
    let Some((number, unit)) = split(text, units) else {
        log.add(at.error(PackCode::InvalidValue, format!("{expected} is needed here")));
        return None;
    };
    let amount = number
        .and_then(|number| number.checked_mul(unit))
        .filter(|amount| (min..=max).contains(amount));
    if amount.is_none() {
        let message = format!("this lies between {} and {}", show(min, units), show(max, units));
        log.add(at.error(PackCode::OutOfRange, message));
    }
    amount
}

/// Number and unit; the number is `None` where it is beyond 64 bits.
fn split(text: &str, units: &[(&str, u64)]) -> Option<(Option<u64>, u64)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    if number.is_empty() || (number.len() > 1 && number.starts_with('0')) {
        return None;
    }
    Some((number.parse().ok(), *factor))
}

/// In the largest unit that divides the amount.
fn show(amount: u64, units: &[(&str, u64)]) -> String {
    let unit = units
        .iter()
        .rev()
        .find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", amount / factor),
        None => amount.to_string(),
    }
}
