//! All webhooks of the appliance: which there are, what each stands at, and the courier of each.
//!
//! Every change goes through [`Webhooks::change`], one after the other, so that couriers follow the ledger's order. The
//! next courier of a webhook begins when the one before has ended: there is never more than one request on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::address::Address;
use super::courier::{Courier, Shared, lock};
use super::cursor::{Cursors, Progress};
use super::error::WebhookError;
use super::figures::Counts;
use super::key::SigningKey;
use super::key_files::KeyFiles;
use super::keys::Keys;
use super::request::{Line, Message, Outcome};
use super::running::{Running, Told, ending};
use super::saver::Saver;
use super::{Judge, Origin, Pace, Service};
use crate::disk::Disk;
use crate::domain::command::{ChangeWebhook, Command, Reply, WebhookChange};
use crate::domain::event::Actor;
use crate::domain::state::Kind;
use crate::domain::webhook::{Webhook, WebhookKey, WebhookState};
use crate::domain::{SecretVersion, TenantName, Timestamp, WebhookName};
use crate::egress::Outlet;
use crate::engine::{CommandError, Handle, Receipt, SubmitError};
use crate::limits;
use crate::secrets::SecretError;
use crate::stream::Hub;

type Id = (TenantName, WebhookName);

/// All webhooks.
#[derive(Debug)]
pub struct Webhooks {
    engine: Handle,
    keys: KeyFiles,
    cursors: Cursors,
    counts: Arc<Counts>,
    /// Held for a few instructions.
    registry: Mutex<Registry>,
    /// Set when the server begins.
    service: OnceLock<Service>,
    /// One change after the other, from its recording to its courier.
    changing: Arc<Semaphore>,
    tests: Semaphore,
}

#[derive(Debug, Default)]
struct Registry {
    entries: BTreeMap<Id, Entry>,
    /// Webhooks that are being made, and by how many callers.
    making: BTreeMap<Id, u32>,
    /// No courier begins any more.
    is_over: bool,
}

#[derive(Debug)]
struct Entry {
    webhook: Webhook,
    shared: Shared,
    courier: Option<Running>,
}

/// A place for a webhook that is being made; given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    webhooks: Arc<Webhooks>,
    id: Id,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut registry = self.webhooks.registry();
        if let Some(callers) = registry.making.get_mut(&self.id) {
            *callers -= 1;
            if *callers == 0 {
                registry.making.remove(&self.id);
            }
        }
    }
}

/// What became of a test.
#[derive(Debug)]
pub struct Tested {
    /// Of the one attempt.
    pub outcome: Outcome,
    /// How long it took.
    pub duration_ms: u64,
}

impl Webhooks {
    /// Reads which webhooks there are and how far each has come, and removes keys that count no more. Blocks on the disk.
    ///
    /// # Errors
    /// [`WebhookError`] when the ledgers or the folder cannot be read.
    pub fn open(engine: &Handle, disk: &Arc<dyn Disk>, dir: &Path) -> Result<Arc<Self>, WebhookError> {
        // Whatever lies deeper flushes the folders below this one alone.
        let made = disk.create_dir_all(dir);
        let made = made.and_then(|()| dir.parent().map_or(Ok(()), |data| disk.sync_dir(data)));
        made.map_err(|cause| SecretError::Disk {
            attempted: "make",
            path: dir.to_owned(),
            cause,
        })?;
        let keys = KeyFiles::new(dir.join("keys"), disk.clone());
        let cursors = Cursors::new(dir.join("cursors"), disk.clone());
        let mut registry = Registry::default();
        let snapshot = engine.read()?;
        for tenant in engine.tenants()? {
            // An imported ledger tells of webhooks of another enclave.
            if tenant.is_foreign() {
                continue;
            }
            for row in snapshot.every_row(&tenant, Kind::Webhook)? {
                if let Some(webhook) = row?.1.as_webhook() {
                    let entry = Entry {
                        shared: Arc::new(Mutex::new(cursors.load(&tenant, webhook))),
                        webhook: webhook.clone(),
                        courier: None,
                    };
                    registry
                        .entries
                        .insert((tenant.clone(), webhook.name.clone()), entry);
                }
            }
        }
        drop(snapshot);
        let live: BTreeSet<SecretVersion> = registry
            .entries
            .values()
            .flat_map(|entry| versions(&entry.webhook))
            .collect();
        keys.sweep(&live)?;
        Ok(Arc::new(Webhooks {
            engine: engine.clone(),
            keys,
            cursors,
            counts: Arc::default(),
            registry: Mutex::new(registry),
            service: OnceLock::new(),
            changing: Arc::new(Semaphore::new(1)),
            tests: Semaphore::new(limits::WEBHOOK_TESTS_MAX),
        }))
    }

    /// Begins to deliver. Must be called within a runtime, once.
    pub fn start(self: &Arc<Self>, hub: Arc<Hub>, outlet: Arc<Outlet>, (judge, pace): (Judge, Pace)) {
        let service = Service {
            hub,
            outlet,
            cursors: self.cursors.clone(),
            counts: self.counts.clone(),
            judge,
            pace,
        };
        if self.service.set(service).is_err() {
            return;
        }
        let mut registry = self.registry();
        for (id, entry) in &mut registry.entries {
            entry.courier = Some(self.employ(id, entry, None));
        }
    }

    /// Stops every courier; each writes its cursor.
    pub async fn stop(&self) {
        let running: Vec<Running> = {
            let mut registry = self.registry();
            registry.is_over = true;
            let entries = registry.entries.values_mut();
            entries.filter_map(|entry| entry.courier.take()).collect()
        };
        for courier in &running {
            courier.told.send_replace(Told::Stop);
        }
        for courier in running {
            let _ = courier.task.await;
        }
    }

    /// Takes a place for a webhook that is to be made.
    ///
    /// # Errors
    /// [`WebhookError::Full`].
    pub fn reserve(self: &Arc<Self>, tenant: &TenantName, name: &WebhookName) -> Result<Place, WebhookError> {
        let id = (tenant.clone(), name.clone());
        let mut registry = self.registry();
        let Registry { entries, making, .. } = &mut *registry;
        let others: BTreeSet<&Id> = entries
            .keys()
            .chain(making.keys())
            .filter(|other| **other != id)
            .collect();
        let of_tenant = others.iter().filter(|other| other.0 == *tenant).count();
        if others.len() >= limits::WEBHOOKS_MAX || of_tenant >= limits::WEBHOOKS_PER_TENANT_MAX {
            return Err(WebhookError::Full);
        }
        *making.entry(id.clone()).or_default() += 1;
        drop(registry);
        Ok(Place {
            webhooks: self.clone(),
            id,
        })
    }

    /// Writes the file of a key, which a change is about to name. Blocks on the disk.
    ///
    /// # Errors
    /// What the disk said.
    pub fn keep_key(&self, tenant: &TenantName, key: &SigningKey) -> Result<WebhookKey, WebhookError> {
        let clock = self.engine.clock();
        let version = SecretVersion::derive(Timestamp::from_ms(clock.wall_ms()), clock.entropy(), 0);
        self.keys.write(tenant, version, key)?;
        Ok(WebhookKey {
            kind: key.kind(),
            public_key: key.public_key(),
            version,
        })
    }

    /// Records a change, and lets the courier follow it. Goes to its end even when nobody waits for it any more.
    ///
    /// # Errors
    /// As of the engine.
    pub async fn change(
        self: &Arc<Self>,
        tenant: &TenantName,
        actor: &Actor,
        change: ChangeWebhook,
    ) -> Result<Receipt, CommandError> {
        let (webhooks, tenant, actor) = (self.clone(), tenant.clone(), actor.clone());
        let task = tokio::spawn(async move {
            // Never closed.
            let _one_at_a_time = webhooks.changing.acquire().await;
            let noted = matches!(change.change, WebhookChange::Refuse { .. });
            let name = change.name.clone();
            let taken = change.change.new_key().map(|key| key.version);
            let command = Command::ChangeWebhook(Box::new(change));
            let submitted = webhooks.engine.submit(&tenant, &actor, command).await;
            if matches!(submitted, Err(CommandError::Rejected(_))) {
                // Its key is of no use. When the outcome is unknown it may be.
                let taken = taken.into_iter().collect();
                webhooks.clone().forget_keys(tenant.clone(), taken).await;
            }
            let receipt = submitted?;
            if let (Reply::Webhook { now, before }, false) = (&receipt.reply, noted) {
                let before = before.as_deref();
                match now {
                    Some(now) => webhooks.follow((tenant, name), now, before),
                    None => webhooks.clear((tenant, name), before).await,
                }
            }
            Ok(receipt)
        });
        match task.await {
            Ok(done) => done,
            Err(_) => Err(SubmitError::Stopped.into()),
        }
    }

    /// How the delivery of a webhook stands.
    pub fn progress(&self, tenant: &TenantName, webhook: &Webhook) -> Progress {
        let registry = self.registry();
        let entry = registry.entries.get(&(tenant.clone(), webhook.name.clone()));
        let entry = entry.filter(|entry| entry.webhook.opened == webhook.opened);
        entry.map_or_else(|| Progress::of(webhook), |entry| lock(&entry.shared).clone())
    }

    /// Sends one message now, whatever the webhook's state.
    ///
    /// # Errors
    /// [`WebhookError`] when it cannot be sent at all.
    pub async fn test(
        self: &Arc<Self>,
        tenant: &TenantName,
        webhook: &Webhook,
        body: Vec<u8>,
    ) -> Result<Tested, WebhookError> {
        let _place = self.tests.try_acquire().map_err(|_| WebhookError::Testing)?;
        let service = self.service.get().ok_or(SubmitError::Stopped)?;
        let clock = self.engine.clock();
        let keys = self.keys_of(tenant, webhook).await?;
        let origin = self.origin(tenant);
        let message = Message {
            id: format!("{}_test_{:016x}", origin.prefix, clock.entropy()),
            body: body.into(),
        };
        let mut line = line(service, webhook)?;
        let now = || Timestamp::from_ms(clock.wall_ms());
        let from_ms = clock.monotonic_ms();
        let outcome = line.send(&message, &keys.at(now(), from_ms), &now).await;
        Ok(Tested {
            outcome,
            duration_ms: clock.monotonic_ms().saturating_sub(from_ms),
        })
    }

    /// A courier for the webhook as it stands now.
    fn follow(self: &Arc<Self>, id: Id, webhook: &Webhook, before: Option<&Webhook>) {
        let live = versions(webhook);
        let mut ended = before.map(versions).unwrap_or_default();
        ended.retain(|version| !live.contains(version));
        let mut registry = self.registry();
        let (shared, courier) = match registry.entries.remove(&id) {
            Some(old) if old.webhook.opened == webhook.opened => (old.shared, old.courier),
            _ => (Arc::new(Mutex::new(Progress::of(webhook))), None),
        };
        let mut entry = Entry {
            webhook: webhook.clone(),
            shared,
            courier: None,
        };
        if !registry.is_over && self.service.get().is_some() {
            entry.courier = Some(self.employ(&id, &entry, courier));
        }
        registry.entries.insert(id.clone(), entry);
        drop(registry);
        let webhooks = self.clone();
        tokio::spawn(async move { webhooks.forget_keys(id.0, ended).await });
    }

    /// A courier that begins when the one before has ended.
    fn employ(self: &Arc<Self>, id: &Id, entry: &Entry, before: Option<Running>) -> Running {
        let (tell, mut told) = watch::channel(Told::Deliver);
        let (webhooks, tenant) = (self.clone(), id.0.clone());
        let (webhook, shared) = (entry.webhook.clone(), entry.shared.clone());
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                before.stop(&mut told).await;
            }
            // What it came to stays to be seen until it goes on.
            if webhook.state != WebhookState::Active {
                lock(&shared).retry_at = None;
                return;
            }
            lock(&shared).begin(&webhook);
            let name = webhook.name.clone();
            let courier = loop {
                match webhooks.courier(&tenant, webhook.clone(), shared.clone()).await {
                    Ok(courier) => break courier,
                    Err(error) => {
                        tracing::error!(%tenant, webhook = %name, %error, "a webhook cannot deliver");
                        lock(&shared).fail(&error.to_string());
                    }
                }
                tokio::select! {
                    () = ending(&mut told) => return,
                    () = tokio::time::sleep(Duration::from_millis(limits::WEBHOOK_RETRY_MS_MIN)) => {}
                }
            };
            drop(webhooks);
            courier.run(told).await;
        });
        Running { told: tell, task }
    }

    async fn courier(
        self: &Arc<Self>,
        tenant: &TenantName,
        webhook: Webhook,
        shared: Shared,
    ) -> Result<Courier, WebhookError> {
        let service = self.service.get().ok_or(SubmitError::Stopped)?;
        let line = line(service, &webhook)?;
        let keys = self.keys_of(tenant, &webhook).await?;
        let saved = lock(&shared).clone();
        let name = webhook.name.clone();
        Ok(Courier {
            engine: self.engine.clone(),
            service: service.clone(),
            webhooks: Arc::downgrade(self),
            tenant: tenant.clone(),
            origin: self.origin(tenant),
            webhook,
            keys,
            line,
            shared,
            saver: Saver::new(
                (self.engine.clone(), service.cursors.clone()),
                (tenant, &name),
                saved,
            ),
        })
    }

    async fn keys_of(self: &Arc<Self>, tenant: &TenantName, webhook: &Webhook) -> Result<Keys, WebhookError> {
        let (webhooks, tenant, webhook) = (self.clone(), tenant.clone(), webhook.clone());
        let read = move || {
            let clock = webhooks.engine.clock();
            let wall = Timestamp::from_ms(clock.wall_ms());
            let newest = webhooks.engine.read()?.head(&tenant)?.map(|head| head.at);
            let read_at = (newest.map_or(wall, |at| at.max(wall)), clock.monotonic_ms());
            let key = webhooks.keys.read(&tenant, webhook.key.version)?;
            // One that cannot be read any more signs no more.
            let old = webhook.old_key.and_then(|old| {
                let key = webhooks.keys.read(&tenant, old.key.version).ok()?;
                Some((key, old.until))
            });
            Ok(Keys { key, old, read_at })
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(|_| SubmitError::Stopped)?
    }

    fn origin(&self, tenant: &TenantName) -> Origin {
        let origin = self.engine.origin(tenant);
        let origin = origin.map_or_else(|| tenant.to_string(), |origin| origin.to_string());
        Origin::new(&origin)
    }

    /// After the end of a webhook: its courier, its cursor, its keys.
    async fn clear(self: &Arc<Self>, id: Id, before: Option<&Webhook>) {
        let old = self.registry().entries.remove(&id);
        if let Some(running) = old.and_then(|old| old.courier) {
            // Other changes wait for this one: it must not wait for a receiver.
            running.cut_off().await;
        }
        let (webhooks, (tenant, name)) = (self.clone(), id.clone());
        let remove = move || {
            // One that stays is of an earlier webhook, and never read for another.
            if let Err(error) = webhooks.cursors.remove(&tenant, &name) {
                tracing::warn!(%tenant, webhook = %name, %error, "a webhook's cursor was left behind");
            }
        };
        let _ = tokio::task::spawn_blocking(remove).await;
        let ended = before.map(versions).unwrap_or_default();
        self.clone().forget_keys(id.0, ended).await;
    }

    /// Removes keys that count no more; what stays behind is removed at the next start.
    async fn forget_keys(self: Arc<Self>, tenant: TenantName, ended: Vec<SecretVersion>) {
        let remove = move || {
            for version in ended {
                if self.keys.remove(&tenant, version).is_err() {
                    tracing::warn!("the old key of a webhook was left behind");
                }
            }
        };
        let _ = tokio::task::spawn_blocking(remove).await;
    }

    pub(super) fn engine(&self) -> &Handle {
        &self.engine
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Each webhook as it stands, and its progress.
    pub(super) fn all(&self) -> Vec<(TenantName, Webhook, Shared)> {
        let registry = self.registry();
        let entries = registry.entries.iter();
        entries
            .map(|((tenant, _), entry)| (tenant.clone(), entry.webhook.clone(), entry.shared.clone()))
            .collect()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn line(service: &Service, webhook: &Webhook) -> Result<Line, WebhookError> {
    let address: Address = webhook.url.parse()?;
    let (outlet, answer_ms) = (service.outlet.clone(), service.pace.answer_ms);
    Ok(Line::new(outlet, address, answer_ms, service.judge))
}

/// Which files the ledger names.
fn versions(webhook: &Webhook) -> Vec<SecretVersion> {
    let old = webhook.old_key.as_ref().map(|old| old.key.version);
    [Some(webhook.key.version), old].into_iter().flatten().collect()
}
