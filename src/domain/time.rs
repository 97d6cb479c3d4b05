//! Points in time: milliseconds since the Unix epoch, written as RFC 3339 in UTC with three decimals.

use std::fmt;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since 1970-01-01T00:00:00Z, within years 0000 to 9999 in every zone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Length of the text.
const WRITTEN_BYTES: usize = "0000-00-00T00:00:00.000Z".len();

/// 0000-01-01T00:00:00.000Z and 9999-12-30T21:59:59.999Z, the last second that is a valid time in every zone.
const MS_MIN: i64 = -62_167_219_200_000;
const MS_MAX: i64 = 253_402_207_199_999;

impl Timestamp {
    /// From milliseconds since the epoch, held within the years that RFC 3339 can write.
    pub const fn from_ms(ms: i64) -> Self {
        if ms < MS_MIN {
            Timestamp(MS_MIN)
        } else if ms > MS_MAX {
            Timestamp(MS_MAX)
        } else {
            Timestamp(ms)
        }
    }

    /// Milliseconds since the epoch.
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// The first millisecond that is not before a time: as a bound it parts recorded times as that time does.
    ///
    /// # Errors
    /// What is not RFC 3339, or outside the years that it can write.
    pub fn at_or_after(text: &str) -> Result<Self, TimeError> {
        if !is_rfc_3339(text) {
            return Err(TimeError);
        }
        let parsed: jiff::Timestamp = text.parse().map_err(|_| TimeError)?;
        let ms = -(-parsed.as_nanosecond()).div_euclid(1_000_000);
        match i64::try_from(ms) {
            Ok(ms) if (MS_MIN..=MS_MAX).contains(&ms) => Ok(Timestamp(ms)),
            _ => Err(TimeError),
        }
    }

    /// Reads a date of HTTP (RFC 9110, 5.6.7), in the form that senders write.
    ///
    /// # Errors
    /// Any other text.
    pub fn from_http_date(text: &str) -> Result<Self, TimeError> {
        let parser = jiff::fmt::rfc2822::DateTimeParser::new();
        let parsed = parser.parse_timestamp(text).map_err(|_| TimeError)?;
        Ok(Timestamp::from_ms(parsed.as_millisecond()))
    }

    /// This much later.
    pub fn plus_ms(self, ms: u64) -> Self {
        Timestamp::from_ms(self.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `earlier` to here; zero when it is not earlier.
    pub fn since_ms(self, earlier: Timestamp) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

impl Timestamp {
    /// Reads a time in the one form that is written; others would be the same time, and other bytes.
    ///
    /// # Errors
    /// What the deserializer said, and any other form.
    pub fn deserialize_written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                let other = || E::custom("the time is not written with milliseconds and Z");
                Timestamp::from_written(text).ok_or_else(other)
            }
        }
        deserializer.deserialize_str(Written)
    }

    /// Reads what [`Timestamp::written`] gives, and nothing else.
    fn from_written(text: &str) -> Option<Self> {
        let written: &[u8; WRITTEN_BYTES] = text.as_bytes().try_into().ok()?;
        let number = |at: usize, length: usize| {
            let digits = written[at..at + length].iter();
            digits.fold(0_i64, |number, byte| {
                number * 10 + i64::from(byte.wrapping_sub(b'0'))
            })
        };
        let days = days_from_civil(number(0, 4), number(5, 2), number(8, 2));
        let seconds = (number(11, 2) * 60 + number(14, 2)) * 60 + number(17, 2);
        let time = Timestamp::from_ms(days * 86_400_000 + seconds * 1_000 + number(20, 3));
        // Whatever else stands there gives a time that is written otherwise.
        (time.written() == *written).then_some(time)
    }

    /// The text, all of it ASCII.
    fn written(self) -> [u8; WRITTEN_BYTES] {
        let (days, ms) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = civil(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, length: usize, mut number: i64| {
            for place in text[at..at + length].iter_mut().rev() {
                *place = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0, 4, year);
        put(5, 2, month);
        put(8, 2, day);
        put(11, 2, ms / 3_600_000);
        put(14, 2, ms / 60_000 % 60);
        put(17, 2, ms / 1_000 % 60);
        put(20, 3, ms % 1_000);
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.written()).map_err(|_| fmt::Error)?)
    }
}

/// Whether a text has the form of RFC 3339, 5.6: others read more, such as times without seconds or with a zone's name.
fn is_rfc_3339(text: &str) -> bool {
    let fits = |text: &str, form: &str| {
        let pairs = text.bytes().zip(form.bytes());
        text.len() == form.len()
            && pairs.into_iter().all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                other => byte.eq_ignore_ascii_case(&other),
            })
    };
    let Some((head, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else {
        return false;
    };
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|character: char| character.is_ascii_digit()),
        None => rest,
    };
    let is_fraction = rest.len() != zone.len() + 1;
    let is_zone = ["Z", "+00:00", "-00:00"].iter().any(|form| fits(zone, form));
    fits(head, "0000-00-00T00:00:00") && is_fraction && is_zone
}

/// Proleptic Gregorian date of a day count since the epoch (Hinnant, "chrono-compatible low-level date algorithms").
/// Written out, as are reading and writing, because each event has times on the writer's hot path and each replay reads them;
/// `jiff` is the oracle in tests.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since the epoch of a date of that calendar (the same source); of no date, some number or other.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as RFC 3339, for example 2026-01-31T12:00:00.123Z")]
pub struct TimeError;

impl FromStr for Timestamp {
    type Err = TimeError;

    /// Reads any RFC 3339 time with an offset; what is finer than a millisecond is cut off.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        if let Some(time) = Timestamp::from_written(text) {
            return Ok(time);
        }
        let parsed: jiff::Timestamp = text.parse().map_err(|_| TimeError)?;
        let ms = parsed.as_millisecond();
        if (MS_MIN..=MS_MAX).contains(&ms) {
            Ok(Timestamp(ms))
        } else {
            Err(TimeError)
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // In binary forms (rows of jobs): as milliseconds.
        if serializer.is_human_readable() {
            let text = self.written();
            serializer.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Timestamp);
        }
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_agrees_with_jiff_over_four_centuries_of_days() {
        for day in 0..146_097_i64 {
            let ms = (day - 36_525) * 86_400_000 + (day * 7_919) % 86_400_000;
            let expected = jiff::Timestamp::from_millisecond(ms).unwrap();
            assert_eq!(
                Timestamp::from_ms(ms).to_string(),
                format!("{expected:.3}"),
                "{ms}"
            );
            let text = format!("{expected:.3}");
            assert_eq!(Timestamp::from_written(&text), Some(Timestamp(ms)), "{text}");
        }
    }

    #[test]
    fn reading_gives_back_what_was_written() {
        for ms in [MS_MIN, -1, 0, 1, 1_769_860_800_123, MS_MAX] {
            let text = Timestamp::from_ms(ms).to_string();
            assert_eq!(text.parse::<Timestamp>().map(Timestamp::as_ms), Ok(ms), "{text}");
        }
        for (text, ms) in [
            ("1970-01-01T00:00:01.123Z", 1_123),
            ("1970-01-01T00:00:01.1230001Z", 1_124),
            ("1970-01-01T02:00:01.123+02:00", 1_123),
            ("1969-12-31T23:59:59.9985Z", -1),
        ] {
            let found = Timestamp::at_or_after(text);
            assert_eq!(found.map(Timestamp::as_ms), Ok(ms), "{text}");
        }
        for (text, ms) in [
            ("Thu, 01 Jan 1970 00:00:07 GMT", Some(7_000)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777_000)),
            ("1970-01-01T00:00:07Z", None),
            ("7", None),
            ("", None),
        ] {
            let found = Timestamp::from_http_date(text).ok();
            assert_eq!(found.map(Timestamp::as_ms), ms, "{text}");
        }
        for other in [
            "1970-01-01t00:00:01.123Z",
            "1970-01-01T00:00:01.123z",
            "1970-01-01 00:00:01.123Z",
            "1970-01-01T00:00:60.123Z",
            "1970-01-01T24:00:01.123Z",
            "1970-02-29T00:00:01.123Z",
            "1970-00-01T00:00:01.123Z",
            "1970-13-01T00:00:01.123Z",
            "1970-01-0/T00:00:01.123Z",
            "1970-01-01T00:00:01,123Z",
            "1970-01-01T00:00:01.12Z",
            "1970-01-01T00:00:01.1230Z",
            "9999-12-31T00:00:00.000Z",
            "",
        ] {
            assert_eq!(Timestamp::from_written(other), None, "{other}");
        }
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert!("2026-01-31T12:00:00".parse::<Timestamp>().is_err());
    }
}
