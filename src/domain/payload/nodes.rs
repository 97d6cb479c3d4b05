//! The payloads of what happens to the nodes of a run for which no job tells it: gates, and steps that are worked out later.

use serde::{Deserialize, Serialize};

use crate::domain::{Digest, JobId};

payload!(
    /// Nothing is to be done for a step of a run. It satisfies what needs it.
    StepSkipped {
        /// Its index in the run's graph.
        node: u32,
        /// `condition`, or `empty_map`.
        reason: String,
    }
);

payload!(
    /// A gate asks persons.
    GateStarted {
        /// How many.
        approvers: u32,
        /// SHA-256 of the canonical `{"inputs":…,"planHash":…,"steps":…}`: what the approvals are about.
        binding: Digest,
        /// Its index in the run's graph.
        node: u32,
    }
);

payload!(
    /// A person lets a gate pass, as far as that person goes.
    GateApproved {
        /// What it is about, as the gate asked.
        binding: Digest,
        /// Its index in the run's graph.
        node: u32,
        /// Why.
        reason: String,
    }
);

payload!(
    /// What needs a gate goes on.
    GatePassed {
        /// Its index in the run's graph.
        node: u32,
        /// `approved`, or `policy`.
        reason: String,
    }
);

payload!(
    /// What needs a gate cannot go on.
    GateFailed {
        /// For people.
        detail: String,
        /// Its index in the run's graph.
        node: u32,
        /// `rejected`, or `policy`.
        reason: String,
    }
);

payload!(
    /// A step of a run is done by a job for each item of a list; they follow, in its order.
    StepMapped {
        /// The jobs.
        jobs: Vec<JobId>,
        /// Its index in the run's graph.
        node: u32,
    }
);

payload!(
    /// A step of a run ended before it was worked out.
    StepCancelled {
        /// Its index in the run's graph.
        node: u32,
        /// `upstream_failed`, or what was given with the request.
        reason: String,
    }
);

payload!(
    /// A step of a run failed, as its expressions came to nothing that could stand there.
    StepUnresolved {
        /// Which, and why.
        detail: String,
        /// Its index in the run's graph.
        node: u32,
    }
);
