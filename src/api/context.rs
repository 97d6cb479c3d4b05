//! What the interface is given: the parts of the appliance that it serves, and how patient it is.

use std::net::SocketAddr;
use std::sync::Arc;

use super::assets::FindAsset;
use super::server::Bounds;
use crate::egress::{Mode, Outlet};
use crate::engine::Handle;
use crate::output::Output;
use crate::secrets::Secrets;
use crate::webhooks::{Pace, Webhooks};

/// What the interface is given.
#[derive(Debug, Clone)]
pub struct ApiContext {
    pub(super) engine: Handle,
    pub(super) output: Arc<Output>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) webhooks: Arc<Webhooks>,
    /// The one way out.
    pub(super) outlet: Arc<Outlet>,
    /// How patient deliveries are.
    pub(super) pace: Pace,
    /// Where the server listens; one of the hosts it answers to.
    pub(super) address: SocketAddr,
    /// The program's version, sent with each answer.
    pub(super) version: &'static str,
    pub(super) find_asset: Option<FindAsset>,
    pub(super) bounds: Bounds,
    /// How many persons approve an import; 0: nobody is asked.
    pub(super) import_approvals: u32,
    /// Nothing may be changed: what is shown was replayed from bundles.
    pub(super) is_read_only: bool,
}

impl ApiContext {
    /// Everything but the console.
    pub fn new(
        engine: Handle,
        output: Arc<Output>,
        (secrets, webhooks): (Arc<Secrets>, Arc<Webhooks>),
        address: SocketAddr,
    ) -> Self {
        ApiContext {
            engine,
            output,
            secrets,
            webhooks,
            outlet: Arc::new(Outlet::new(Mode::Open)),
            pace: Pace::default(),
            address,
            version: env!("CARGO_PKG_VERSION"),
            find_asset: None,
            bounds: Bounds::default(),
            import_approvals: 0,
            is_read_only: false,
        }
    }

    /// Other bounds than the usual ones.
    #[must_use]
    pub fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Another way out, and another patience with receivers.
    #[must_use]
    pub fn with_outlet(mut self, outlet: Arc<Outlet>, pace: Pace) -> Self {
        (self.outlet, self.pace) = (outlet, pace);
        self
    }

    /// So many persons approve an import.
    #[must_use]
    pub fn with_import_approvals(mut self, approvals: u32) -> Self {
        self.import_approvals = approvals;
        self
    }

    /// Only reads: every route that would change something is refused.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.is_read_only = true;
        self
    }

    /// Serves the console's files at `/`.
    #[must_use]
    pub fn with_assets(mut self, find: FindAsset) -> Self {
        self.find_asset = Some(find);
        self
    }
}
