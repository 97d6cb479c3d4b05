//! Names and ids as types of their own, each checked once where it enters.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::time::Timestamp;
use crate::limits;

/// Position of an event in its tenant's ledger, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text does not have the form of this name or id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(&'static str);

impl NameError {
    pub(super) const fn new(form: &'static str) -> Self {
        NameError(form)
    }
}

macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Wraps raw bytes, which must come from [`Self::as_bytes`].
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                $name(bytes)
            }

            /// The raw bytes; they sort in order of creation.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// The `index`-th id that one command makes: UUIDv7 (RFC 9562) from ledger time and the command's
            /// entropy alone, so that deciding stays a pure function.
            pub fn derive(at: Timestamp, entropy: u64, index: u32) -> Self {
                $name(uuid_v7(at, entropy, index))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; 36];
                write_uuid(&self.0, &mut text);
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                read_uuid(text).map($name).ok_or(NameError("an id is a UUID in lower case"))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                // In binary forms (rows of jobs): as raw bytes.
        if !serializer.is_human_readable() {
                    return serializer.serialize_bytes(&self.0);
                }
                let mut text = [0; 36];
                write_uuid(&self.0, &mut text);
                serializer.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if !deserializer.is_human_readable() {
                    let bytes = <&'de [u8]>::deserialize(deserializer)?;
                    return bytes.try_into().map($name).map_err(serde::de::Error::custom);
                }
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

uuid_type!(
    /// A job.
    JobId
);
uuid_type!(
    /// A run; a pack run's id is the run's id.
    RunId
);
uuid_type!(
    /// A work order, here and where it is carried to.
    OrderId
);
uuid_type!(
    /// A token's public id; never the secret.
    TokenId
);

uuid_type!(
    /// One value that a secret had: names the file that holds it, and says nothing of it.
    SecretVersion
);

fn uuid_v7(at: Timestamp, entropy: u64, index: u32) -> [u8; 16] {
    let ms = u64::try_from(at.as_ms()).unwrap_or(0);
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    // 12 bits of index keep the ids of one command in order; the rest of it is mixed into the tail.
    bytes[6] = 0x70 | ((index >> 8) & 0x0f) as u8;
    bytes[7] = index as u8;
    let tail = entropy ^ (u64::from(index) << 40);
    bytes[8..].copy_from_slice(&tail.to_be_bytes());
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    bytes
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const DASHES: [usize; 4] = [8, 13, 18, 23];

fn write_uuid(bytes: &[u8; 16], text: &mut [u8; 36]) {
    let mut at = 0;
    for byte in bytes {
        if DASHES.contains(&at) {
            text[at] = b'-';
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
}

fn read_uuid(text: &str) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 16];
    let mut at = 0;
    for byte in &mut bytes {
        if DASHES.contains(&at) {
            if text[at] != b'-' {
                return None;
            }
            at += 1;
        }
        let high = HEX.iter().position(|digit| *digit == text[at])?;
        let low = HEX.iter().position(|digit| *digit == text[at + 1])?;
        *byte = (high << 4 | low) as u8;
        at += 2;
    }
    Some(bytes)
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:expr, $message:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok($name(text.into())) } else { Err(NameError($message)) }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type!(
    /// A tenant: `[a-z0-9][a-z0-9-]{0,62}`, the ledger `system`, or `foreign:<16 hex>/<tenant>` for an imported one.
    TenantName,
    |text| match text.strip_prefix("foreign:") {
        None => is_name(text),
        Some(rest) => rest
            .split_once('/')
            .is_some_and(|(origin, tenant)| is_enclave(origin) && is_name(tenant)),
    },
    "a tenant is named [a-z0-9][a-z0-9-]{0,62}"
);
name_type!(
    /// A pack: `[a-z0-9][a-z0-9-]{0,62}`, or `order/<16 hex>/<name>` for one that came with a work order of that hub.
    PackName,
    |text| match text.strip_prefix("order/") {
        None => is_name(text),
        Some(rest) => rest
            .split_once('/')
            .is_some_and(|(hub, name)| is_enclave(hub) && is_name(name)),
    },
    "a pack is named [a-z0-9][a-z0-9-]{0,62}"
);
name_type!(
    /// An enclave: the first 16 hex digits of the SHA-256 of its first log key, as every origin of it carries them.
    EnclaveName,
    is_enclave,
    "an enclave is named by 16 hex digits in lower case"
);
name_type!(
    /// A run within a work order: `[a-z0-9][a-z0-9-]{0,62}`.
    RunName,
    is_name,
    "a run of a work order is named [a-z0-9][a-z0-9-]{0,62}"
);
name_type!(
    /// A step of a pack or a job's name within a run: `[a-z0-9][a-z0-9-]{0,62}`, with `[n]` behind it for an item of a map.
    StepName,
    is_step_name,
    "a step is named [a-z0-9][a-z0-9-]{0,62}"
);
name_type!(
    /// An artifact: 1 to 100 bytes of `[A-Za-z0-9._-]`, not starting with a dot.
    ArtifactName,
    |text| (1..=100).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)),
    "an artifact is named with 1 to 100 of [A-Za-z0-9._-], not starting with a dot"
);

name_type!(
    /// A secret: `[A-Za-z_][A-Za-z0-9_]{0,62}`, which is a file name as well.
    SecretName,
    |text| text.len() <= 63
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
    "a secret is named [A-Za-z_][A-Za-z0-9_]{0,62}"
);
name_type!(
    /// A webhook: `[a-z0-9][a-z0-9-]{0,62}`, which is a file name as well.
    WebhookName,
    is_name,
    "a webhook is named [a-z0-9][a-z0-9-]{0,62}"
);
name_type!(
    /// A redaction policy: `[a-z0-9][a-z0-9-]{0,62}`.
    PolicyName,
    is_name,
    "a redaction policy is named [a-z0-9][a-z0-9-]{0,62}"
);
name_type!(
    /// A worker's own event: `x.` and 1 to 100 bytes of `[a-z0-9_.]`.
    ReportName,
    |text| text.strip_prefix("x.").is_some_and(|rest| {
        (1..=100).contains(&rest.len())
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.".contains(&byte))
    }),
    "a worker's own event is named x. and 1 to 100 of [a-z0-9_.]"
);

impl TenantName {
    /// The ledger of administrative acts.
    pub fn system() -> Self {
        TenantName("system".into())
    }

    /// True for a ledger imported from elsewhere, which can only be read.
    pub fn is_foreign(&self) -> bool {
        self.0.starts_with("foreign:")
    }
}

impl PackName {
    /// The name here of a pack that a work order of `hub` brings. None for one that is such a name already.
    pub fn ordered_by(&self, hub: &EnclaveName) -> Option<Self> {
        if self.is_ordered() {
            return None;
        }
        Some(PackName(format!("order/{hub}/{self}").into()))
    }

    /// True for a pack that came with a work order: nothing else is registered under such a name.
    pub fn is_ordered(&self) -> bool {
        self.0.contains('/')
    }
}

/// 16 hex digits in lower case.
fn is_enclave(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| HEX.contains(&byte))
}

/// `[a-z0-9][a-z0-9-]{0,62}`.
fn is_name(text: &str) -> bool {
    (1..=limits::NAME_BYTES_MAX).contains(&text.len())
        && !text.starts_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_step_name(text: &str) -> bool {
    let Some(rest) = text.strip_suffix(']') else {
        return is_name(text);
    };
    rest.split_once('[').is_some_and(|(name, index)| {
        is_name(name) && (1..=5).contains(&index.len()) && index.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_command_are_version_7_distinct_and_in_order() {
        let at = Timestamp::from_ms(1_769_860_800_123);
        let ids: Vec<JobId> = (0..4_096)
            .map(|index| JobId::derive(at, 0x1234_5678_9abc_def0, index))
            .collect();
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
        for id in ids {
            let text = id.to_string();
            assert_eq!(&text[14..15], "7");
            assert!("89ab".contains(&text[19..20]));
            assert_eq!(text.parse(), Ok(id));
        }
        assert!("0190D7C4-0000-7000-8000-000000000000".parse::<JobId>().is_err());
    }

    #[test]
    fn names_keep_to_their_alphabet_and_length() {
        let longest = "a".repeat(63);
        for good in ["a", "host-inventory", "0", &longest] {
            assert!(good.parse::<PackName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a/b", &"a".repeat(64), "ä"] {
            assert!(bad.parse::<PackName>().is_err(), "{bad}");
        }
        let hub: EnclaveName = "0123456789abcdef".parse().unwrap();
        let plain: PackName = "a".parse().unwrap();
        let ordered = plain.ordered_by(&hub).unwrap();
        assert_eq!(ordered.to_string().parse(), Ok(ordered.clone()));
        assert!(ordered.is_ordered() && !plain.is_ordered() && ordered.ordered_by(&hub).is_none());
        for bad in [
            "order/0123456789abcdef",
            "order/0123456789ABCDEF/a",
            "order/0123456789abcde/a",
            "order/0123456789abcdef/a/b",
            "order/0123456789abcdef/",
        ] {
            assert!(bad.parse::<PackName>().is_err(), "{bad}");
        }
        assert!("per-host[0]".parse::<StepName>().is_ok());
        assert!("per-host[]".parse::<StepName>().is_err());
        assert!("foreign:0123456789abcdef/plant".parse::<TenantName>().is_ok());
        assert!("foreign:0123/plant".parse::<TenantName>().is_err());
        assert!("../x".parse::<ArtifactName>().is_err());
        assert!(".hidden".parse::<ArtifactName>().is_err());
        assert!("x.scan_2.found".parse::<ReportName>().is_ok());
        for bad in [
            "x.",
            "x",
            "y.a",
            "x.A",
            "x.a-b",
            &format!("x.{}", "a".repeat(101)),
        ] {
            assert!(bad.parse::<ReportName>().is_err(), "{bad}");
        }
    }
}
