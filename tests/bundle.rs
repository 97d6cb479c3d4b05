//! Bundles: written, verified by us and by the two standalone scripts, damaged in every place.

mod again;
mod continuity;
pub mod fixture;
mod flips;
mod hostile;
mod legal;
mod manners;
mod mutations;
mod refusals;
mod standalone;
mod writing;
