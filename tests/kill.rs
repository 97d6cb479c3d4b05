//! The real program, killed at any moment: what it acknowledged is there, what ran is recorded as lost, nothing survives it.

mod cycles;
mod load;
mod mid_run;
mod promises;
mod recorded;
