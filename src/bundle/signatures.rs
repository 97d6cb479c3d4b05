//! Checks 2 and 4 as far as they are about signatures: who signed the manifest and the checkpoints, of those that may have.

use super::dsse::Envelope;
use super::manifest::Statement;
use super::members::Member;
use super::pass::{Pass, Stop};
use super::reading::Content;
use super::report::{CheckName, Finding, Verdict};
use crate::ledger::{NoteError, SignedCheckpoint, TreeHead};
use crate::limits;
use crate::trust::{PublicKey, Role};

impl Pass<'_> {
    /// A manifest that none of the given keys signed ends the pass.
    pub(super) fn signature(&mut self, envelope: &Envelope) -> Result<(), Stop> {
        let fail = |pass: &mut Self, verdict, detail: &str| {
            pass.checks.fail(
                CheckName::Manifest,
                Finding::new(verdict, detail).of(Member::Manifest),
            );
        };
        let of_key = |key: &PublicKey| key.id().digest();
        let Some(given) = self.export_keys.first().map(of_key) else {
            let why = self.resolved.why_none("no export key was given");
            fail(self, Verdict::Untrusted, &why);
            return if self.options.require_signature {
                Err(Stop::Found)
            } else {
                Ok(())
            };
        };
        if let Some(key) = self.export_keys.iter().find(|key| envelope.is_signed_by(key)) {
            let right = of_key(key);
            self.exporter = Some(*key);
            if envelope.key_id != right {
                fail(
                    self,
                    Verdict::Tampered,
                    "keyid is not that of the key that signed",
                );
            }
            return Ok(());
        }
        if self.export_keys.iter().any(|key| of_key(key) == envelope.key_id) {
            fail(self, Verdict::Tampered, "the signature does not hold");
        } else if self.log_keys.iter().any(|log| of_key(log) == envelope.key_id) {
            fail(
                self,
                Verdict::Untrusted,
                "signed by the log key, which does not sign bundles",
            );
        } else {
            fail(
                self,
                Verdict::Untrusted,
                &format!("signed by {}, not by {given}", envelope.key_id),
            );
        }
        Err(Stop::Found)
    }

    /// A checkpoint: its form, who signed it, and whether it is that of the manifest.
    pub(super) fn checkpoint(
        &mut self,
        member: Member,
        content: &mut Content<'_>,
        of: &Statement,
    ) -> Result<(), Stop> {
        let predicate = &of.predicate;
        let head = match member {
            Member::CheckpointPrev => TreeHead {
                size: predicate.first,
                root: predicate.prev_root,
            },
            _ => TreeHead {
                size: predicate.size,
                root: predicate.root,
            },
        };
        let no_key = self.resolved.why_none("no log key was given");
        let mut fail = |verdict, detail: &str| {
            self.checks
                .fail(CheckName::Checkpoints, Finding::new(verdict, detail).of(member));
        };
        let Some(bytes) = content.whole(limits::NOTE_BYTES_MAX as u64)? else {
            fail(Verdict::Malformed, "longer than a checkpoint may be");
            return Ok(());
        };
        let signed = match SignedCheckpoint::parse(&bytes) {
            Ok(signed) => signed,
            Err(error) => {
                fail(Verdict::Malformed, &error.to_string());
                return Ok(());
            }
        };
        match signer(&signed, &self.log_keys) {
            None => fail(Verdict::Untrusted, &no_key),
            Some(Ok(key)) => self.used.push((Role::Log, key, head.size)),
            Some(Err(error @ NoteError::NotSignedBy { .. })) => fail(Verdict::Untrusted, &error.to_string()),
            Some(Err(error)) => fail(Verdict::Tampered, &error.to_string()),
        }
        if signed.checkpoint().origin.to_string() != predicate.origin {
            fail(Verdict::Tampered, "its origin is not that of the manifest");
        }
        if signed.checkpoint().head != head {
            fail(
                Verdict::Tampered,
                "its size and root are not those of the manifest",
            );
        }
        Ok(())
    }
}

/// Which of the keys signed a checkpoint; a wrong signature counts for more than none. None without keys.
fn signer(signed: &SignedCheckpoint, keys: &[PublicKey]) -> Option<Result<PublicKey, NoteError>> {
    let origin = &signed.checkpoint().origin;
    let mut found: Option<Result<PublicKey, NoteError>> = None;
    for key in keys {
        match (signed.verify(origin, key), &found) {
            (Ok(_), _) => return Some(Ok(*key)),
            (Err(_), Some(Err(NoteError::BadSignature { .. }))) => {}
            (Err(error), _) => found = Some(Err(error)),
        }
    }
    found
}
