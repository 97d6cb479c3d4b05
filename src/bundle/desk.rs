//! The desk where bundles come in: verified, then taken in at once or when persons have approved.
//!
//! Promises: one bundle at a time; the same bundle twice changes nothing; what contradicts what is held, or what waits,
//! is kept in quarantine and never taken in; nothing is recorded as taken in before its tar is stored and flushed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::held::{check_stored, materialise, remove_tar, store_tar};
use super::import::{
    ImportError, Imported, Judged, Keys, first_failure, foreign_tenant, import_row, imports, judge, requests,
};
use super::manifest::Predicate;
use super::quarantine::{Quarantine, Quarantined};
use super::refused::{blocking, keep_refused, let_go};
use super::report::Report;
use super::roots;
use super::stored::{judge_stored, take_in_roots_of};
use super::vouched::pin;
use crate::domain::command::{BundleCommand, Command, Reply, Verdict};
use crate::domain::event::Actor;
use crate::domain::import_request::{ImportRequest, ImportStatus};
use crate::domain::payload::bundles::BundleImportRequested;
use crate::domain::payload::{BundleImported, BundleRefused};
use crate::domain::token::Import;
use crate::domain::{Digest, TenantName, Timestamp};
use crate::engine::{CommandError, Handle};
use crate::limits;
use crate::trust::PublicKey;

/// What became of a bundle that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is held.
    Imported(Box<Imported>),
    /// Persons are asked.
    Waiting {
        /// True when they were asked before: nothing changed.
        already: bool,
        /// What they are asked about.
        request: Box<ImportRequest>,
        /// The checklist.
        report: Box<Report>,
    },
}

/// Where bundles come in, by the policy of the appliance.
#[derive(Debug)]
pub struct Desk {
    engine: Handle,
    /// How many persons approve an import; 0: nobody is asked.
    approvals: u32,
    quarantine: Arc<Quarantine>,
    /// One bundle at a time: foreign ledgers are written by whoever has it.
    turn: Semaphore,
}

impl Desk {
    /// A desk where `approvals` persons approve each import.
    pub fn new(engine: Handle, approvals: u32) -> Self {
        let dir = engine.dir().join("quarantine");
        Desk {
            quarantine: Arc::new(Quarantine::new(dir, engine.disk().clone())),
            engine,
            approvals,
            turn: Semaphore::new(1),
        }
    }

    /// How many persons approve an import; 0: nobody is asked.
    pub fn approvals(&self) -> u32 {
        self.approvals
    }

    /// What was refused and is kept.
    pub fn quarantine(&self) -> &Arc<Quarantine> {
        &self.quarantine
    }

    /// Verifies a bundle and takes it in, or asks persons about it. With `keys`, these are pinned for its origin;
    /// without, the pinned ones must be there.
    ///
    /// # Errors
    /// [`ImportError::Refused`] carries the checklist; the file is then in quarantine. A bundle of this very enclave is
    /// refused as well, and kept nowhere.
    pub async fn import(&self, actor: &Actor, file: &Path, keys: Option<Keys>) -> Result<Taken, ImportError> {
        let _turn = self.turn.acquire().await.map_err(|_| ImportError::Stopping)?;
        let (engine, path, given) = (self.engine.clone(), file.to_owned(), keys.clone());
        let judged = blocking(move || judge(&engine, &path, given.as_ref())).await?;
        let (Some(predicate), Some(tar_sha256), true) =
            (judged.predicate.clone(), judged.tar_sha256, judged.report.ok)
        else {
            return Err(self.refuse(actor, file, judged).await?);
        };
        // Where a root of trust says who may sign, no key is pinned beside it.
        let keys = keys.filter(|_| judged.trust.is_none());
        let tenant = foreign_tenant(&predicate.origin, &predicate.tenant)
            .ok_or_else(|| ImportError::Origin(predicate.origin.clone()))?;
        let (engine, named) = (self.engine.clone(), tenant.clone());
        let held = blocking(move || {
            let held = import_row(&engine, &named)?;
            if held.is_none() {
                check_ledgers(&engine, &named)?;
            }
            Ok(held)
        })
        .await?;
        let place = Place::of(held.as_ref(), &predicate, tar_sha256)?;
        if place == Place::Next && self.approvals > 0 {
            return self.ask(actor, file, keys, judged, tenant).await;
        }
        if let Some(keys) = &keys {
            pin(&self.engine, actor, &predicate.origin, keys).await?;
        }
        // Where persons are asked, what changes no ledger changes no trust either.
        if self.approvals == 0 {
            self.take_in_roots(actor, &judged).await?;
        }
        if place == Place::Next {
            self.store(file, tar_sha256).await?;
            let imported = BundleImported {
                first: predicate.first,
                origin: predicate.origin.clone(),
                root: predicate.root,
                size: predicate.size,
                tar_sha256,
                tenant: tenant.clone(),
                trust_version: trust_version_of(&predicate),
            };
            let command = Command::ImportBundle(Box::new(imported));
            let recorded = self.engine.submit(&TenantName::system(), actor, command).await;
            self.or_remove(tar_sha256, recorded.map_err(ImportError::from))
                .await?;
        }
        if place == Place::Same {
            self.restore(file, tar_sha256).await?;
        }
        self.complete(&tenant).await?;
        self.end_those_overtaken().await;
        Ok(Taken::Imported(Box::new(Imported {
            already: place != Place::Next,
            contained: place == Place::Contained,
            first: predicate.first,
            origin: predicate.origin,
            root: predicate.root,
            size: predicate.size,
            state_digest: judged.state_digest,
            tar_sha256,
            tenant,
            report: judged.report,
        })))
    }

    /// Takes in the roots of trust that the pinned one leads to; without a pinned one only the version is kept.
    async fn take_in_roots(&self, actor: &Actor, judged: &Judged) -> Result<(), ImportError> {
        if let Some(trust) = &judged.trust {
            roots::take_in(&self.engine, actor, trust, &judged.roots).await?;
        }
        Ok(())
    }

    /// Stores a good bundle and asks persons about it.
    async fn ask(
        &self,
        actor: &Actor,
        file: &Path,
        keys: Option<Keys>,
        judged: Judged,
        tenant: TenantName,
    ) -> Result<Taken, ImportError> {
        let (Some(predicate), Some(tar_sha256)) = (&judged.predicate, judged.tar_sha256) else {
            return Err(ImportError::Stopping);
        };
        let waiting = waiting(&self.engine).await?;
        let report = Box::new(judged.report.clone());
        if let Some(request) = waiting.iter().find(|request| request.tar_sha256 == tar_sha256) {
            let request = Box::new(request.clone());
            return Ok(Taken::Waiting {
                already: true,
                request,
                report,
            });
        }
        let forked = waiting.iter().any(|request| {
            request.origin == predicate.origin
                && request.size == predicate.size
                && request.root != predicate.root
        });
        if forked {
            let detail = format!("another root at {} than a bundle that waits", predicate.size);
            let report = judged.report.clone().contradicted(detail);
            return Err(self.refuse(actor, file, Judged { report, ..judged }).await?);
        }
        if waiting.len() >= limits::IMPORTS_WAITING_MAX {
            return Err(ImportError::TooManyWaiting(waiting.len()));
        }
        self.store(file, tar_sha256).await?;
        let pem = |key: Option<&PublicKey>| key.map(PublicKey::to_pem).transpose();
        let request = BundleImportRequested {
            approvals: self.approvals,
            export_key: pem(keys.as_ref().map(|keys| &keys.export))?,
            first: predicate.first,
            log_key: pem(keys.as_ref().map(|keys| &keys.log))?,
            origin: predicate.origin.clone(),
            root: predicate.root,
            size: predicate.size,
            tar_sha256,
            tenant,
            trust_version: trust_version_of(predicate),
        };
        let command = BundleCommand::RequestImport(request);
        let asked = self.submit(actor, command).await;
        let request = self.or_remove(tar_sha256, asked).await?;
        Ok(Taken::Waiting {
            already: false,
            request,
            report,
        })
    }

    /// Brings a person's answer about a bundle that waits. The last approval takes it in.
    ///
    /// # Errors
    /// The person may not; the stored tar is not what was verified; the foreign ledger cannot be written.
    pub async fn decide(
        &self,
        actor: &Actor,
        tar_sha256: Digest,
        verdict: Verdict,
        reason: String,
    ) -> Result<Box<ImportRequest>, ImportError> {
        let _turn = self.turn.acquire().await.map_err(|_| ImportError::Stopping)?;
        let waiting = waiting(&self.engine).await?;
        let waits = waiting.iter().find(|request| request.tar_sha256 == tar_sha256);
        let judged = match waits {
            Some(request) if verdict == Verdict::Approve => Some(self.judge_again(actor, request).await?),
            Some(_) | None => None,
        };
        let command = BundleCommand::DecideImport {
            tar_sha256,
            verdict,
            reason,
        };
        let request = self.submit(actor, command).await?;
        match request.status {
            ImportStatus::Imported => {
                self.complete(&request.tenant).await?;
                self.end_those_overtaken().await;
                match judged {
                    Some(judged) => self.take_in_roots(actor, &judged).await?,
                    // What failed between the import and its roots: the same approval again takes them in.
                    None => take_in_roots_of(&self.engine, actor, &request).await?,
                }
            }
            ImportStatus::Rejected => {
                let engine = self.engine.clone();
                blocking(move || remove_tar(&engine, tar_sha256)).await?;
            }
            ImportStatus::Waiting | ImportStatus::Superseded => {}
        }
        Ok(request)
    }

    /// Judges a bundle that waits by what is known now: a key may have been revoked since it came. A bad one is refused
    /// like any other, and waits on until a person rejects it.
    async fn judge_again(&self, actor: &Actor, request: &ImportRequest) -> Result<Judged, ImportError> {
        let (scratch, judged) = judge_stored(&self.engine, request).await?;
        if !judged.report.ok || judged.tar_sha256 != Some(request.tar_sha256) {
            return Err(self.refuse(actor, &scratch.1, judged).await?);
        }
        Ok(judged)
    }

    /// Discards what lies in quarantine under this digest. False when there is nothing.
    ///
    /// # Errors
    /// What the disk or the writer said.
    pub async fn discard(&self, actor: &Actor, sha256: Digest, reason: &str) -> Result<bool, ImportError> {
        let _turn = self.turn.acquire().await.map_err(|_| ImportError::Stopping)?;
        let quarantine = self.quarantine.clone();
        if !blocking(move || quarantine.holds(sha256)).await? {
            return Ok(false);
        }
        let_go(&self.engine, &self.quarantine, actor, sha256, reason).await?;
        Ok(true)
    }

    /// What was recorded stands, whatever becomes of those that it overtook; the next start ends them.
    async fn end_those_overtaken(&self) {
        if let Err(error) = self.end_overtaken().await {
            tracing::error!(%error, "imports that were overtaken wait on");
        }
    }

    /// Ends the wait of bundles that begin before the end of what is held: they can be taken in no more, and would keep the
    /// place of others. One that turns out to contradict what is held is refused, and kept as the other side of a fork. After
    /// each import; at start for what a crash left.
    ///
    /// # Errors
    /// What the projection, the writer or the disk said.
    pub async fn end_overtaken(&self) -> Result<(), ImportError> {
        let shared = self.engine.clone();
        let held = blocking(move || Ok(imports(&shared)?)).await?;
        let actor = Actor::system("imports");
        for request in waiting(&self.engine).await? {
            let mut of_ledger = held.iter().filter(|held| held.tenant == request.tenant);
            if !of_ledger.any(|held| request.first < held.size) {
                continue;
            }
            match self.judge_again(&actor, &request).await {
                // One that cannot be read any more has nothing to say.
                Ok(_) | Err(ImportError::Refused(_) | ImportError::Stored(..)) => {}
                Err(error) => return Err(error),
            }
            let tar_sha256 = request.tar_sha256;
            self.submit(&actor, BundleCommand::SupersedeImport(tar_sha256))
                .await?;
            let engine = self.engine.clone();
            blocking(move || remove_tar(&engine, tar_sha256)).await?;
        }
        Ok(())
    }

    async fn submit(&self, actor: &Actor, command: BundleCommand) -> Result<Box<ImportRequest>, ImportError> {
        let command = Command::Bundle(Box::new(command));
        let receipt = self.engine.submit(&TenantName::system(), actor, command).await?;
        match receipt.reply {
            Reply::Import(request) => Ok(request),
            _ => Err(ImportError::Stopping),
        }
    }

    async fn store(&self, file: &Path, tar_sha256: Digest) -> Result<(), ImportError> {
        let (engine, file) = (self.engine.clone(), file.to_owned());
        blocking(move || store_tar(&engine, &file, tar_sha256)).await
    }

    /// Stores a bundle that is held again, where its tar was lost or changed.
    async fn restore(&self, file: &Path, tar_sha256: Digest) -> Result<(), ImportError> {
        let engine = self.engine.clone();
        match blocking(move || check_stored(&engine, tar_sha256)).await {
            Err(ImportError::Stored(..)) => self.store(file, tar_sha256).await,
            checked => checked,
        }
    }

    /// Removes a stored tar again that the writer did not accept. What may have been recorded keeps its tar.
    async fn or_remove<T>(&self, tar: Digest, recorded: Result<T, ImportError>) -> Result<T, ImportError> {
        if matches!(recorded, Err(ImportError::Command(CommandError::Rejected(_)))) {
            let engine = self.engine.clone();
            blocking(move || remove_tar(&engine, tar)).await?;
        }
        recorded
    }

    async fn complete(&self, tenant: &TenantName) -> Result<(), ImportError> {
        let (engine, tenant) = (self.engine.clone(), tenant.clone());
        blocking(move || materialise(&engine, &tenant)).await
    }

    /// Records a refused bundle and keeps it, in this order: none is kept without an event. What must go to make room is
    /// recorded as well.
    async fn refuse(&self, actor: &Actor, file: &Path, judged: Judged) -> Result<ImportError, ImportError> {
        let report = judged.report;
        let predicate = judged.predicate;
        let origin = predicate.as_ref().map(|predicate| predicate.origin.clone());
        let note = Quarantined {
            at: Timestamp::from_ms(self.engine.clock().wall_ms()),
            by: actor.id.clone(),
            bytes: 0,
            detail: first_failure(&report),
            exit_code: report.exit_code,
            first: predicate.as_ref().map(|predicate| predicate.first),
            kind: report.kind().to_owned(),
            origin,
            sha256: judged.file_sha256,
            size: predicate.as_ref().map(|predicate| predicate.size),
        };
        let refused = BundleRefused {
            detail: note.detail.clone(),
            exit_code: i32::from(note.exit_code),
            kind: Some(note.kind.clone()),
            origin: note.origin.clone(),
            sha256: note.sha256,
        };
        let command = Command::RecordRefusal(Box::new(refused));
        self.engine.submit(&TenantName::system(), actor, command).await?;
        let (quarantine, path, sha256) = (self.quarantine.clone(), file.to_owned(), note.sha256);
        let kept = keep_refused(
            &self.engine,
            &self.quarantine,
            file_bytes(file),
            sha256,
            move || quarantine.keep(&path, note),
        );
        kept.await?;
        Ok(ImportError::Refused(Box::new(report)))
    }
}

async fn waiting(engine: &Handle) -> Result<Vec<ImportRequest>, ImportError> {
    let engine = engine.clone();
    let mut all = blocking(move || Ok(requests(&engine)?)).await?;
    all.retain(|request| request.status == ImportStatus::Waiting);
    Ok(all)
}

fn file_bytes(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |facts| facts.len())
}

/// Lets a further foreign ledger in, also beside those that wait to be one. One that waits is none.
fn check_ledgers(engine: &Handle, tenant: &TenantName) -> Result<(), ImportError> {
    let mut ledgers: BTreeSet<TenantName> = imports(engine)?.into_iter().map(|held| held.tenant).collect();
    let waiting = requests(engine)?.into_iter();
    let waiting = waiting.filter(|request| request.status == ImportStatus::Waiting);
    ledgers.extend(waiting.map(|request| request.tenant));
    if ledgers.contains(tenant) || ledgers.len() < limits::IMPORTS_MAX {
        return Ok(());
    }
    Err(ImportError::TooMany(ledgers.len()))
}

/// The newest root of trust in a bundle; none where it carries none.
fn trust_version_of(predicate: &Predicate) -> Option<u64> {
    (predicate.trust_version > 0).then_some(predicate.trust_version)
}

/// Where a good bundle stands against what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It begins where what is held ends.
    Next,
    /// It is one of the bundles held.
    Same,
    /// Its events are among those held.
    Contained,
}

impl Place {
    fn of(held: Option<&Import>, predicate: &Predicate, tar_sha256: Digest) -> Result<Self, ImportError> {
        let size = held.map_or(0, |held| held.size);
        let is_same = |held: &Import| held.bundles.iter().any(|bundle| bundle.2 == tar_sha256);
        match held {
            Some(held) if is_same(held) => Ok(Place::Same),
            // The check of continuity has compared the roots; that of another origin has compared nothing.
            Some(held) if predicate.size <= size && held.origin == predicate.origin => Ok(Place::Contained),
            _ if predicate.first == size => Ok(Place::Next),
            _ => Err(ImportError::Overlap {
                first: predicate.first,
                size: predicate.size,
                held: size,
                origin: predicate.origin.clone(),
            }),
        }
    }
}
