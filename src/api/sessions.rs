//! Sessions of the console: in memory, bounded, each standing for a token. They end with it, with the process, or when
//! their time is over.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use crate::clock::Clock;
use crate::domain::{Digest, TokenId};
use crate::limits;

/// What the cookie carries. Only its digest is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKey(String);

impl SessionKey {
    /// The cookie's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey")
    }
}

impl FromStr for SessionKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let fits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if fits {
            Ok(SessionKey(text.to_owned()))
        } else {
            Err(())
        }
    }
}

/// One session.
#[derive(Debug, Clone)]
pub struct Session {
    /// The token it stands for.
    pub token: TokenId,
    /// Sent with every mutation.
    pub csrf: String,
    created_ms: i64,
}

/// All sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    /// Guards the table; held for a look-up, an insertion, or a search for the oldest.
    table: Mutex<HashMap<Digest, Session>>,
}

impl Sessions {
    /// Begins a session. The oldest one goes when there are too many.
    pub fn begin(&self, clock: &dyn Clock, token: TokenId) -> (SessionKey, Session) {
        let key = SessionKey(random_hex(clock));
        let session = Session {
            token,
            csrf: random_hex(clock),
            created_ms: clock.wall_ms(),
        };
        let mut table = self.lock();
        if table.len() >= limits::SESSIONS_MAX {
            let oldest = table.iter().min_by_key(|(_, session)| session.created_ms);
            if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                table.remove(&oldest);
            }
        }
        table.insert(key.digest(), session.clone());
        (key, session)
    }

    /// The session with this key, unless it is over.
    pub fn find(&self, key: &SessionKey, now_ms: i64) -> Option<Session> {
        let mut table = self.lock();
        let session = table.get(&key.digest())?.clone();
        if now_ms - session.created_ms > limits::SESSION_MS_MAX {
            table.remove(&key.digest());
            return None;
        }
        Some(session)
    }

    /// Ends a session.
    pub fn end(&self, key: &SessionKey) {
        self.lock().remove(&key.digest());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Session>> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// 256 random bits as hex.
pub fn random_hex(clock: &dyn Clock) -> String {
    let mut bytes = [0; 32];
    clock.fill_random(&mut bytes);
    Digest::from_bytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::Timestamp;

    #[test]
    fn sessions_are_bounded_and_end_with_their_time() {
        let clock = ManualClock::new(1_000, 7);
        let token = TokenId::derive(Timestamp::from_ms(0), 1, 0);
        let sessions = Sessions::default();
        let (first, _) = sessions.begin(&clock, token);
        for _ in 0..limits::SESSIONS_MAX {
            clock.advance(std::time::Duration::from_millis(1));
            sessions.begin(&clock, token);
        }
        assert!(sessions.find(&first, clock.wall_ms()).is_none());
        assert_eq!(sessions.lock().len(), limits::SESSIONS_MAX);
        let (last, session) = sessions.begin(&clock, token);
        let end = session.created_ms + limits::SESSION_MS_MAX;
        assert!(sessions.find(&last, end).is_some());
        assert!(sessions.find(&last, end + 1).is_none());
    }
}
