//! Which keys sign at a time.

use super::key::SigningKey;
use crate::domain::Timestamp;

/// The keys that sign now, the present one first, and how long the one before still does.
#[derive(Debug)]
pub struct Keys {
    /// The present one.
    pub key: SigningKey,
    /// The one before, and until when by ledger time.
    pub old: Option<(SigningKey, Timestamp)>,
    /// Ledger time when they were read, and the monotonic clock.
    pub read_at: (Timestamp, u64),
}

impl Keys {
    /// Those that sign at this time. A wall clock that was set back makes no key last longer: time goes on from what it
    /// was when the keys were read.
    pub fn at(&self, wall: Timestamp, monotonic_ms: u64) -> Vec<&SigningKey> {
        let (then, then_ms) = self.read_at;
        let now = wall.max(then.plus_ms(monotonic_ms.saturating_sub(then_ms)));
        let old = self.old.as_ref().filter(|(_, until)| *until > now);
        let old = old.map(|(key, _)| key);
        [Some(&self.key), old].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::webhook::SignatureKind;

    #[test]
    fn a_clock_that_is_set_back_does_not_make_a_key_last() {
        let ms = Timestamp::from_ms;
        let draw = || SigningKey::draw(SignatureKind::HmacSha256, &mut |bytes| bytes.fill(1)).unwrap();
        let keys = Keys {
            key: draw(),
            old: Some((draw(), ms(10_000))),
            read_at: (ms(4_000), 700),
        };
        for (wall, monotonic_ms, count) in [
            (4_000, 700, 2),
            (9_999, 700, 2),
            (10_000, 700, 1),
            (-86_400_000, 700, 2),
            (-86_400_000, 6_699, 2),
            (-86_400_000, 6_700, 1),
            (4_000, 0, 2),
        ] {
            let found = keys.at(ms(wall), monotonic_ms).len();
            assert_eq!(found, count, "{wall} {monotonic_ms}");
        }
    }
}
