//! The payloads of what happens to secrets. They never carry a value, nor anything computed from one.

use serde::{Deserialize, Serialize};

use crate::domain::{SecretName, SecretVersion};

payload!(
    /// A secret got a value, which is kept elsewhere; its file is flushed before this is recorded.
    SecretSet {
        /// Its name.
        name: SecretName,
        /// Which file holds the value; drawn at random.
        version: SecretVersion,
    }
);

payload!(
    /// A secret is no more.
    SecretDeleted {
        /// Its name.
        name: SecretName,
        /// Why.
        reason: String,
    }
);
