//! The payloads of what happens to dead letters.

use serde::{Deserialize, Serialize};

use crate::domain::JobId;
use crate::domain::dead_letter::{Fingerprint, Resolution};

payload!(
    /// A job is out of retries. Filed under its job.
    DeadLetterCreated {
        /// Failures with one fingerprint are one error cluster.
        fingerprint: Fingerprint,
        /// The message without what varies from one failure to the next.
        pattern: String,
    }
);

payload!(
    /// Dead letters need nobody's attention any more, since their run is replayed. Filed under that run.
    DeadLettersReplayed {
        /// The jobs whose letters they are, at most [`limits::RUN_JOBS_MAX`](crate::limits::RUN_JOBS_MAX).
        jobs: Vec<JobId>,
    }
);

payload!(
    /// A dead letter needs nobody's attention any more. Filed under its job.
    DeadLetterResolved {
        /// What became of it.
        how: Resolution,
        /// What was given with the request.
        note: String,
    }
);
