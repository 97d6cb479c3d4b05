//! The in-toto statement that a bundle's manifest carries: what the bundle is, and the digest of every other member.
//!
//! Fields are declared in the order of canonical JSON, so that writing a statement is already canonical; parsing
//! accepts exactly what writing gives. What the statement says is checked for sense here; whether the members and
//! the checkpoints agree with it is for [`super::verify`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::members::Member;
use crate::domain::{Digest, OrderId, TenantName};
use crate::ledger::{Origin, empty_root};
use crate::limits;

/// `_type` of the statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// `predicateType` of an audit bundle.
pub const PREDICATE_TYPE: &str = "urn:fastness:attestation:audit-bundle:v1";
/// The format this code writes and reads.
pub const FORMAT: u32 = 1;

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not this JSON object.
    #[error("not the statement of an audit bundle: {0}")]
    Json(String),
    /// The same statement written in another way.
    #[error("the statement is not canonical JSON")]
    NotCanonical,
    /// Another type of statement, predicate or format.
    #[error("{0} is not the one of an audit bundle of format {FORMAT}")]
    Kind(&'static str),
    /// Numbers or names that cannot be.
    #[error("{0}")]
    Senseless(String),
    /// A required member is not listed.
    #[error("{0} is not among the subjects")]
    Missing(Member),
}

/// The statement. Whoever writes a bundle makes it; every field is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Statement {
    #[serde(rename = "_type")]
    statement_type: String,
    /// What is stated.
    pub predicate: Predicate,
    predicate_type: String,
    /// Digest of every member but the manifest, sorted by name.
    pub subject: Vec<Subject>,
}

/// What the bundle is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Predicate {
    /// What the bundle carries besides the history; none where nothing was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Contents>,
    /// Size of every member but the manifest, sorted by name.
    pub files: Vec<FileEntry>,
    /// First event.
    pub first: u64,
    /// [`FORMAT`].
    pub format: u32,
    /// The work order of which the bundle holds runs, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// The work orders of which it holds runs, sorted, where they are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order_ids: Vec<OrderId>,
    /// Name of the ledger, as its checkpoints carry it.
    pub origin: String,
    /// Root at `first`.
    pub prev_root: Digest,
    /// What was withheld.
    pub redaction: Redaction,
    /// Root at `size`.
    pub root: Digest,
    /// SHA-256 of the published schema of events and records.
    pub schema_sha256: Digest,
    /// Size of the ledger at the end of the range: one more than the last event.
    pub size: u64,
    /// Version of the rules that lead from history to state.
    pub state_version: u32,
    /// Whose ledger.
    pub tenant: TenantName,
    /// Newest version of the root of trust that the bundle carries; 0 for none.
    pub trust_version: u64,
}

/// Which files that history names the bundle carries. Each that it names and that was asked for is a member, or missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contents {
    /// Named by history and not there any more when the bundle was written, sorted.
    pub missing: Vec<Digest>,
    /// `artifacts`, `logs`, sorted.
    pub with: Vec<String>,
}

impl Contents {
    /// Whether files of this kind were asked for.
    pub fn has(&self, what: &str) -> bool {
        self.with.iter().any(|with| with == what)
    }

    fn check(&self) -> Result<(), &'static str> {
        let known = |with: &String| matches!(with.as_str(), "artifacts" | "logs");
        if self.with.is_empty() || !self.with.is_sorted_by(|a, b| a < b) || !self.with.iter().all(known) {
            return Err("contents.with is not artifacts, logs, or both");
        }
        if !self.missing.is_sorted_by(|a, b| a < b) || self.missing.len() > limits::BUNDLE_MEMBERS_MAX {
            return Err("contents.missing is too long, a duplicate or out of order");
        }
        Ok(())
    }
}

/// A member as the statement counts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileEntry {
    /// Number of lines, of `.jsonl` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
    /// Path in the archive.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

/// What was withheld, by which policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redaction {
    /// Name of the policy; `none` shows everything there is.
    pub policy: String,
    /// Disclosures left out.
    pub withheld: u64,
}

impl Redaction {
    /// Nothing is withheld.
    pub fn none() -> Self {
        Redaction {
            policy: "none".to_owned(),
            withheld: 0,
        }
    }
}

/// A member's digest, in in-toto's form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Digests by algorithm; one.
    pub digest: Sha256,
    /// Path in the archive.
    pub name: String,
}

/// A digest under the name of its algorithm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sha256 {
    /// The digest.
    pub sha256: Digest,
}

impl Statement {
    /// A statement over `subject`.
    ///
    /// # Errors
    /// What [`Statement::parse`] would refuse about it.
    pub fn new(predicate: Predicate, subject: Vec<Subject>) -> Result<Self, ManifestError> {
        let statement = Statement {
            statement_type: STATEMENT_TYPE.to_owned(),
            predicate,
            predicate_type: PREDICATE_TYPE.to_owned(),
            subject,
        };
        statement.check()?;
        Ok(statement)
    }

    /// The canonical bytes.
    ///
    /// # Errors
    /// None in practice: writing into memory.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        serde_json::to_vec(self).map_err(|error| ManifestError::Json(error.to_string()))
    }

    /// Parses canonical bytes and checks what they say.
    ///
    /// # Errors
    /// The reason for which this is not the statement of an audit bundle.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let statement: Statement =
            serde_json::from_slice(bytes).map_err(|e| ManifestError::Json(e.to_string()))?;
        if statement.to_bytes()? != bytes {
            return Err(ManifestError::NotCanonical);
        }
        statement.check()?;
        Ok(statement)
    }

    /// The members with digest, size and lines, sorted by name.
    pub fn members(&self) -> impl Iterator<Item = (Member, Digest, &FileEntry)> {
        self.subject
            .iter()
            .zip(&self.predicate.files)
            .filter_map(|(subject, file)| {
                Member::from_name(&subject.name).map(|member| (member, subject.digest.sha256, file))
            })
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.statement_type != STATEMENT_TYPE {
            return Err(ManifestError::Kind("_type"));
        }
        if self.predicate_type != PREDICATE_TYPE {
            return Err(ManifestError::Kind("predicateType"));
        }
        self.predicate.check()?;
        self.check_names()
    }

    fn check_names(&self) -> Result<(), ManifestError> {
        let senseless = |what: String| Err(ManifestError::Senseless(what));
        if self.subject.len() != self.predicate.files.len() {
            return senseless("subjects and files are not the same members".to_owned());
        }
        if self.subject.len() > limits::BUNDLE_MEMBERS_MAX {
            return senseless(format!("more than {} members", limits::BUNDLE_MEMBERS_MAX));
        }
        for pair in self.subject.windows(2) {
            if pair[0].name >= pair[1].name {
                return senseless(format!("subject {} is a duplicate or out of order", pair[1].name));
            }
        }
        for (subject, file) in self.subject.iter().zip(&self.predicate.files) {
            if subject.name != file.name {
                return senseless("subjects and files are not the same members".to_owned());
            }
            match Member::from_name(&subject.name) {
                None | Some(Member::Manifest) => {
                    return senseless(format!("{} is no possible subject", subject.name));
                }
                Some(member) if member.has_lines() != file.lines.is_some() => {
                    return senseless(format!("{}: lines are counted in .jsonl alone", subject.name));
                }
                Some(_) if file.size > limits::BUNDLE_MEMBER_BYTES_MAX => {
                    return senseless(format!("{}: 8 GiB or more", subject.name));
                }
                Some(_) => {}
            }
        }
        let has = |member: &Member| {
            let name = member.to_string();
            self.subject
                .binary_search_by(|subject| subject.name.as_str().cmp(&name))
                .is_ok()
        };
        match Member::REQUIRED.iter().find(|member| !has(member)) {
            Some(member) => Err(ManifestError::Missing(*member)),
            None => Ok(()),
        }
    }
}

impl Predicate {
    /// The work orders of which the bundle holds runs.
    pub fn orders(&self) -> BTreeSet<OrderId> {
        self.order_ids.iter().copied().chain(self.order_id).collect()
    }

    /// How such orders are named: one by `orderId`, several by `orderIds`.
    pub fn name_orders(orders: &BTreeSet<OrderId>) -> (Option<OrderId>, Vec<OrderId>) {
        match orders.len() {
            0 | 1 => (orders.first().copied(), Vec::new()),
            _ => (None, orders.iter().copied().collect()),
        }
    }

    fn check(&self) -> Result<(), ManifestError> {
        let senseless = |what: &str| Err(ManifestError::Senseless(what.to_owned()));
        if self.format != FORMAT {
            return Err(ManifestError::Kind("format"));
        }
        if self.first > self.size || self.size > limits::JSON_INTEGER_MAX.unsigned_abs() {
            return senseless("the range ends before it begins");
        }
        if self.first == self.size && self.root != self.prev_root {
            return senseless("an empty range with two roots");
        }
        if self.first == 0 && self.prev_root != empty_root() {
            return senseless("prevRoot of an empty ledger is not SHA-256 of nothing");
        }
        if let Some(Err(what)) = self.contents.as_ref().map(Contents::check) {
            return senseless(what);
        }
        if self.order_ids.len() == 1 || self.order_id.is_some() && !self.order_ids.is_empty() {
            return senseless("one work order is named by orderId, several by orderIds");
        }
        if self.order_ids.len() > limits::BUNDLE_ORDERS_MAX || !self.order_ids.is_sorted_by(|a, b| a < b) {
            return senseless("orderIds are too many, or not sorted, each once");
        }
        if !is_origin_of(&self.origin, &self.tenant) {
            return senseless("origin is not fastness/<16 hex>/<tenant> of this tenant");
        }
        Ok(())
    }
}

/// Name of a bundle's file: the origin with `-` for `/`, and the range.
pub fn file_name(origin: &str, first: u64, size: u64) -> String {
    format!("{}-{first}-{size}.audit.tar.zst", origin.replace('/', "-"))
}

/// True for the origin of this tenant's ledger, in any generation.
fn is_origin_of(origin: &str, tenant: &TenantName) -> bool {
    origin
        .parse::<Origin>()
        .is_ok_and(|origin| origin.tenant() == tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predicate() -> Predicate {
        Predicate {
            contents: None,
            files: files(),
            first: 0,
            format: FORMAT,
            order_id: None,
            order_ids: Vec::new(),
            origin: "fastness/0123456789abcdef/acme".to_owned(),
            prev_root: empty_root(),
            redaction: Redaction::none(),
            root: Digest::of(b"root"),
            schema_sha256: Digest::of(b"schema"),
            size: 3,
            state_version: 1,
            tenant: "acme".parse().unwrap(),
            trust_version: 0,
        }
    }

    fn names() -> Vec<Member> {
        let mut members = Member::REQUIRED.to_vec();
        members.push(Member::Artifact(Digest::of(b"a")));
        members.sort_by_key(Member::to_string);
        members
    }

    fn files() -> Vec<FileEntry> {
        let file = |m: &Member| FileEntry {
            lines: m.has_lines().then_some(0),
            name: m.to_string(),
            size: 0,
        };
        names().iter().map(file).collect()
    }

    fn subjects() -> Vec<Subject> {
        let subject = |m: &Member| Subject {
            digest: Sha256 {
                sha256: Digest::of(b""),
            },
            name: m.to_string(),
        };
        names().iter().map(subject).collect()
    }

    #[test]
    fn a_statement_is_canonical_json_and_parses_back() {
        let statement = Statement::new(predicate(), subjects()).unwrap();
        let bytes = statement.to_bytes().unwrap();
        crate::domain::canonical::check(&bytes).unwrap();
        assert_eq!(Statement::parse(&bytes).unwrap(), statement);
        assert_eq!(statement.members().count(), 13);
    }

    #[test]
    fn statements_without_sense_are_refused() {
        let check = |change: &dyn Fn(&mut Predicate, &mut Vec<Subject>), why: &str| {
            let (mut predicate, mut subjects) = (predicate(), subjects());
            change(&mut predicate, &mut subjects);
            let error = Statement::new(predicate, subjects).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        check(&|p, _| p.format = 2, "format");
        let id = |fill: u8| OrderId::from_bytes([fill; 16]);
        check(&|p, _| p.order_ids = vec![id(1)], "orderIds");
        check(&|p, _| p.order_ids = vec![id(2), id(1)], "sorted");
        check(
            &|p, _| (p.order_id, p.order_ids) = (Some(id(3)), vec![id(1), id(2)]),
            "orderIds",
        );
        check(&|p, _| p.first = 4, "ends before it begins");
        check(&|p, _| p.size = 1 << 53, "ends before it begins");
        check(&|p, _| p.size = 0, "two roots");
        check(&|p, _| p.prev_root = p.root, "SHA-256 of nothing");
        check(&|p, _| p.tenant = "other".parse().unwrap(), "origin");
        check(&|p, _| p.origin.push_str("/g1"), "origin");
        check(&|p, _| p.origin = p.origin.to_uppercase(), "origin");
        check(&|_, s| drop(s.pop()), "not the same members");
        check(&|_, s| s.swap(1, 2), "out of order");
        check(&|_, s| s[1] = s[0].clone(), "duplicate");
        check(
            &|p, s| drop((s.pop(), p.files.pop())),
            "audit/verify.txt is not among",
        );
        check(&|p, _| p.files[0].lines = Some(1), "lines are counted");
        check(&|p, _| p.files[0].size = 1 << 33, "8 GiB");
        check(
            &|p, s| {
                p.files[0].name = "audit/aaa".to_owned();
                s[0].name = "audit/aaa".to_owned();
            },
            "no possible subject",
        );
    }

    #[test]
    fn later_generations_have_origins_of_their_own() {
        let acme: TenantName = "acme".parse().unwrap();
        assert!(is_origin_of("fastness/0123456789abcdef/acme/g2", &acme));
        for origin in [
            "fastness/0123456789abcdef/acme/g",
            "fastness/0123456789abcdef/acme/g02",
            "fastness/x/acme",
            "acme",
        ] {
            assert!(!is_origin_of(origin, &acme), "{origin}");
        }
    }
}
