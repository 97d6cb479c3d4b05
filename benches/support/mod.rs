//! What the measured workloads are made of. Nothing of it is part of the appliance.
//!
//! Reading order: `stats`, `system` (processes), `http` (one client), `load` (many), `watchers`, `fanout`, `bundles`, `ceilings`,
//! `disk`, `report`.

pub mod bundles;
pub mod ceilings;
pub mod disk;
pub mod fanout;
pub mod http;
pub mod large;
pub mod load;
pub mod report;
pub mod stats;
pub mod system;
pub mod watchers;
