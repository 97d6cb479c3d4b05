//! The payloads of what happens to a run as a whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::canonical::Value;
use crate::domain::idempotency::Idempotency;
use crate::domain::run::{GraphNode, PackReference, RunCounts};
use crate::domain::{OrderId, RunId, Seq};

payload!(
    /// Only gates are left of a run.
    RunWaiting {}
);

payload!(
    /// A gate has ended, and the run goes on.
    RunContinued {}
);

payload!(
    /// Nothing more of a run starts.
    RunPaused {
        /// Why.
        reason: String,
    }
);

payload!(
    /// A paused run goes on.
    RunResumed {
        /// Why: as given, or `cancelled` or `run_timeout` where the run is stopped.
        reason: String,
    }
);

payload!(
    /// A run came into being, with its whole graph.
    RunCreated {
        /// The event with which the disclosures of sensitive inputs are kept: this one, or that of the run which is done again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disclosures: Option<Seq>,
        /// Digests of the variables in which steps get sensitive inputs, as they stand in `_sd`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        env_sd: Vec<String>,
        /// The jobs and what each needs.
        graph: Vec<GraphNode>,
        /// The key under which the same request is not done twice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency: Option<Idempotency>,
        /// Inputs after defaults were filled in.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        inputs: BTreeMap<String, Value>,
        /// Most jobs at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_parallel: Option<u32>,
        /// The work order that asks for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order_id: Option<OrderId>,
        /// The pack version it was made from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pack: Option<PackReference>,
        /// The run whose work it does again, in part.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replay_of: Option<RunId>,
        /// Longest time from creation to end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    }
);

payload!(
    /// The first job of a run started.
    RunStarted {}
);

payload!(
    /// A run was asked to stop.
    RunCancelRequested {
        /// What was given with the request, or `run_timeout`.
        reason: String,
        /// True when it ran longer than allowed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        timed_out: bool,
    }
);

payload!(
    /// A run ended.
    RunEnded {
        /// How many jobs ended how.
        counts: RunCounts,
    }
);
