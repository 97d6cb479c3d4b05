//! What handlers share, put together once, and the short ways to its parts.

use std::sync::Arc;

use tokio::sync::watch;

use super::context::ApiContext;
use super::live::Signals;
use super::sessions::Sessions;
use super::{Api, attempts, cloud_events, sse, uploads, webhook_test, worker_ends, ws_messages, ws_socket};
use crate::bundle::desk::Desk;
use crate::domain::TenantName;
use crate::engine::Handle;
use crate::output::{Inbox, Output};
use crate::secrets::Secrets;
use crate::stream::{Forms, Hub};
use crate::trust::EnclaveId;
use crate::webhooks::Webhooks;

impl Api {
    /// Must be called within a runtime.
    pub(super) fn new(context: ApiContext) -> Arc<Self> {
        let revocations = Arc::new(watch::Sender::new(0));
        let forms = Forms {
            whole: sse::encode_event,
            part: ws_messages::encode_part,
            frames: ws_socket::encode_frames,
            cloud_event: cloud_events::encode,
        };
        let hub = Arc::new(Hub::start(&context.engine, forms, revocations.clone()));
        let (outlet, pace) = (context.outlet.clone(), context.pace);
        context
            .webhooks
            .start(hub.clone(), outlet, (webhook_test::judge, pace));
        let api = Arc::new(Api {
            inbox: Inbox::new(context.output.clone()),
            desk: Desk::new(context.engine.clone(), context.import_approvals),
            uploads: uploads::Uploads::default(),
            attempts: attempts::Attempts::default(),
            context,
            sessions: Sessions::default(),
            hub,
            signals: Signals::default(),
            revocations,
            stopping: watch::Sender::new(false),
        });
        uploads::tidy(&api);
        tokio::spawn(worker_ends::end_leases(Arc::downgrade(&api)));
        api
    }

    pub(super) fn engine(&self) -> &Handle {
        &self.context.engine
    }

    pub(super) fn output(&self) -> &Arc<Output> {
        &self.context.output
    }

    pub(super) fn secrets(&self) -> &Secrets {
        &self.context.secrets
    }

    pub(super) fn webhooks(&self) -> &Arc<Webhooks> {
        &self.context.webhooks
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.engine().clock().wall_ms()
    }

    pub(super) fn enclave(&self) -> EnclaveId {
        self.engine().keys().enclave()
    }

    /// The cookie of this enclave: several on one host do not sign each other out.
    pub(super) fn cookie_name(&self) -> String {
        format!("fastness_{}", self.enclave())
    }

    /// The `source` of CloudEvents of a tenant's ledger.
    pub(super) fn source(&self, tenant: &TenantName) -> String {
        cloud_events::source(&self.enclave(), tenant)
    }
}
