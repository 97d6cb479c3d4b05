//! Check 9: the roots of trust in a bundle, what they rest on, and whether the keys that signed it count.
//!
//! A chain in a bundle proves nothing by itself: anybody can make one. It counts from an [`Anchor`] on, a root that people
//! vouched for elsewhere. Without an anchor the keys were given by hand, and the chain must at least agree with itself and
//! with them. Must never take a key from a root to which the anchor does not lead, or that its own people did not sign.

use std::collections::BTreeMap;
use std::io;

use super::manifest::Predicate;
use super::members::Member;
use super::pass::Pass;
use super::policy;
use super::reading::{Archive, Opener};
use super::report::{CheckName, Finding, Verdict};
use super::verify::VerifyError;
use crate::limits;
use crate::trust::{Chain, Distrust, Fingerprint, PublicKey, Role, Root, RootError, SignedRoot, judge};

/// The root of trust that somebody vouched for.
#[derive(Debug, Clone)]
pub enum Anchor {
    /// People compared its fingerprint; the document comes with the bundle.
    Fingerprint(Fingerprint),
    /// The document itself, given by people or accepted before. It counts only when enough of its own root keys signed it.
    Root(Box<SignedRoot>),
}

/// The documents of roots in a bundle, by the version in their members' names.
pub(super) type Documents = BTreeMap<u64, Vec<u8>>;

/// What an anchor makes of the documents of a bundle.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// The root that says which keys count; none when nothing leads to one.
    pub(super) root: Option<Root>,
    /// What is wrong with the way to it.
    pub(super) finding: Option<Finding>,
}

impl Resolved {
    /// The keys of a role, revoked ones too: whether these count is judged when the range is known.
    pub(super) fn keys(&self, role: Role) -> Vec<PublicKey> {
        self.root
            .as_ref()
            .map_or_else(Vec::new, |root| root.keys(role).to_vec())
    }

    /// Why there is no key to judge a signature by.
    pub(super) fn why_none(&self, otherwise: &str) -> String {
        self.finding
            .as_ref()
            .map_or_else(|| otherwise.to_owned(), |finding| finding.detail.clone())
    }
}

/// Follows the chain from the anchor.
pub(super) fn resolve(anchor: &Anchor, documents: &Documents) -> Resolved {
    if let Anchor::Root(given) = anchor
        && let Err(error) = given.check_own_voices()
    {
        let detail = format!("the given root of trust: {}: {error}", error.code());
        return Resolved {
            root: None,
            finding: Some(Finding::new(Verdict::Untrusted, detail)),
        };
    }
    let chain = match chain_of(documents) {
        Ok(chain) => chain,
        Err(finding) => {
            return Resolved {
                root: own_root(anchor),
                finding: Some(finding),
            };
        }
    };
    let untrusted = |why: String| Some(Finding::new(Verdict::Untrusted, why));
    let (anchored, finding) = match (anchor, &chain) {
        (Anchor::Fingerprint(_), None) => (None, untrusted("it carries no root of trust".to_owned())),
        (Anchor::Fingerprint(fingerprint), Some(chain)) => match chain.with_fingerprint(*fingerprint) {
            Some(_) => (Some(chain.newest().root().clone()), None),
            None => (None, untrusted(RootError::NotAnchored(*fingerprint).to_string())),
        },
        // A bundle from before its enclave had a root, or this one, is judged by what is known today.
        (Anchor::Root(given), None) => (Some(given.root().clone()), None),
        (Anchor::Root(given), Some(chain)) => match chain.at(given.root().version) {
            None => (Some(given.root().clone()), None),
            Some(same) if same.fingerprint() == given.fingerprint() => {
                (Some(chain.newest().root().clone()), None)
            }
            Some(_) => {
                let why = RootError::Fork(given.root().version).to_string();
                (Some(given.root().clone()), Some(Finding::new(Verdict::Fork, why)))
            }
        },
    };
    Resolved {
        root: anchored,
        finding,
    }
}

fn own_root(anchor: &Anchor) -> Option<Root> {
    match anchor {
        Anchor::Fingerprint(_) => None,
        Anchor::Root(given) => Some(given.root().clone()),
    }
}

/// The chain that the documents are, from version 1 on.
fn chain_of(documents: &Documents) -> Result<Option<Chain>, Finding> {
    for (expected, version) in (1..).zip(documents.keys()) {
        if expected != *version {
            let why = format!("root {expected} is missing, from which root {version} follows");
            return Err(Finding::new(Verdict::Incomplete, why).of(Member::Root(*version)));
        }
    }
    Chain::of(documents.values().map(Vec::as_slice)).map_err(|(place, error)| {
        let verdict = if error.is_of_form()
            || matches!(
                error,
                RootError::Gap { .. } | RootError::RollBack { .. } | RootError::Fork(_)
            ) {
            // A version unlike the member's name is a fault of form too.
            Verdict::Malformed
        } else {
            Verdict::Untrusted
        };
        let detail = format!("{}: {error}", error.code());
        Finding::new(verdict, detail).of(Member::Root(place as u64 + 1))
    })
}

/// Reads the roots of a bundle and nothing behind them. What cannot be read here is found by the pass itself.
pub(super) fn documents_of(open: Opener<'_>) -> io::Result<Documents> {
    let mut archive = Archive::open(open)?;
    let mut documents = Documents::new();
    while let Ok(Some(entry)) = archive.next_entry() {
        // Not signed yet: what is not among the first members, or too large for one of them, is left unread.
        if documents.len() as u64 > limits::ROOT_VERSIONS_MAX
            || entry.size > limits::BUNDLE_MANIFEST_BYTES_MAX
        {
            break;
        }
        match Member::from_name(&entry.name) {
            Some(Member::Root(version)) => {
                if let Ok(Some(bytes)) = archive.content().whole(limits::ROOT_BYTES_MAX as u64) {
                    documents.insert(version, bytes);
                }
            }
            Some(member) if member > Member::Policy => break,
            Some(_) => {}
            None => break,
        }
    }
    Ok(documents)
}

impl Pass<'_> {
    /// Makes check 9.
    pub(super) fn trust(&mut self) -> Result<(), VerifyError> {
        let Some(statement) = self.statement.clone() else {
            return Ok(());
        };
        let predicate = &statement.predicate;
        let used = std::mem::take(&mut self.used);
        let has_signed = |wanted| {
            used.iter()
                .any(|(role, _, size)| (*role, *size) == (wanted, predicate.size))
        };
        self.signers_count = has_signed(Role::Export) && has_signed(Role::Log);
        // By the root that somebody vouched for first: nothing else counts of what others signed.
        if let Some(root) = self.resolved.root.clone() {
            self.signers_count &= self.judge_signers(&root, &used, predicate);
        }
        let newest = self.documents.keys().next_back().copied().unwrap_or(0);
        if newest != predicate.trust_version {
            let detail = format!(
                "trustVersion is {}, the newest root is {newest}",
                predicate.trust_version
            );
            self.distrust(Finding::new(Verdict::Tampered, detail).of(Member::Manifest));
        }
        self.policy_agrees(predicate);
        self.against_held(&predicate.origin, newest)?;
        let chain = match chain_of(&self.documents) {
            Ok(chain) => chain,
            Err(finding) => {
                self.distrust(finding);
                return Ok(());
            }
        };
        if let Some(finding) = self.resolved.finding.take() {
            self.distrust(finding);
        }
        let by_chain = chain.as_ref().map(|chain| chain.newest().root().clone());
        let Some(root) = self.resolved.root.clone().or(by_chain) else {
            let why = match self.export_keys.is_empty() && self.log_keys.is_empty() {
                true => "the bundle carries no root of trust, and no key was given",
                false => "the bundle carries no root of trust; the keys were given by hand",
            };
            self.checks.skip(CheckName::Trust, why);
            return Ok(());
        };
        let enclave = format!("fastness/{}/", root.enclave);
        if !predicate.origin.starts_with(&enclave) {
            let why = format!(
                "the root of trust is of enclave {}, not of this ledger's",
                root.enclave
            );
            self.distrust(Finding::new(Verdict::Untrusted, why));
        }
        self.judge_signers(&root, &used, predicate);
        let detail = match (&self.options.anchor, newest) {
            (None, newest) => {
                format!("root {newest} is whole, and nobody vouched for it; the keys were given by hand")
            }
            (Some(_), newest) if newest > root.version => format!("root {newest} of {}", root.enclave),
            (Some(_), _) => format!("judged by root {} of {}", root.version, root.enclave),
        };
        self.checks.pass(CheckName::Trust, Some(detail));
        Ok(())
    }

    /// Whether a root lets all those sign who did.
    fn judge_signers(&mut self, root: &Root, used: &[(Role, PublicKey, u64)], predicate: &Predicate) -> bool {
        let mut all_count = true;
        for (role, key, size) in used {
            if let Err(error) = judge(root, *role, key, &predicate.origin, *size) {
                all_count = false;
                let finding = Finding::new(Verdict::Untrusted, error.to_string());
                self.distrust(finding.of(signed_by(&error, *role)));
            }
        }
        all_count
    }

    fn distrust(&mut self, finding: Finding) {
        self.checks.fail(CheckName::Trust, finding);
    }

    /// An older root than one seen before hides what was revoked since; another of the same version is a fork.
    fn against_held(&mut self, origin: &str, newest: u64) -> Result<(), VerifyError> {
        let Some(held) = self.options.held else {
            return Ok(());
        };
        let known = held.root_of_trust(origin).map_err(VerifyError::Held)?;
        let of_bundles = self.tip.map_or(0, |tip| tip.trust_version);
        let seen = known.map_or(0, |(version, _)| version).max(of_bundles);
        if newest < seen {
            let detail = format!("root of trust {newest} after {seen}: a roll-back");
            self.distrust(Finding::new(Verdict::Fork, detail));
        }
        if let Some((version, known)) = known
            && let Some(Ok(theirs)) = self.documents.get(&version).map(|bytes| SignedRoot::parse(bytes))
            && theirs.fingerprint() != known
        {
            let detail = RootError::Fork(version).to_string();
            self.distrust(Finding::new(Verdict::Fork, detail).of(Member::Root(version)));
        }
        Ok(())
    }

    fn policy_agrees(&mut self, predicate: &Predicate) {
        if let Err((verdict, why)) = policy::check(&self.policy, predicate) {
            self.distrust(Finding::new(verdict, why).of(Member::Policy));
        }
    }
}

/// The member that a key which does not count signed.
fn signed_by(error: &Distrust, role: Role) -> Member {
    match (error, role) {
        (_, Role::Export) => Member::Manifest,
        (Distrust::Revoked { .. } | Distrust::NotListed { .. } | Distrust::OtherRole { .. }, _) => {
            Member::Checkpoint
        }
    }
}
