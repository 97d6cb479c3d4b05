//! Bundles: written, verified by us and by the two standalone scripts, damaged in every place.

mod again;
mod contents;
mod continuity;
mod disclosures;
pub mod fixture;
mod flips;
mod golden;
mod hostile;
mod legal;
mod manners;
mod mutations;
mod orders;
mod refusals;
mod schemas;
mod standalone;
mod trust;
mod writing;

/// The members of a bundle: names and contents.
pub fn parts(bundle: &[u8]) -> Vec<(String, Vec<u8>)> {
    fixture::Parts::of(bundle).0
}
