//! Bundles: written, verified by us and by the two standalone scripts, damaged in every place.

mod again;
mod container;
mod contents;
mod continuity;
mod disclosures;
mod envelope;
pub mod fixture;
mod flips;
mod orders;
mod schemas;
mod standalone;
mod trust;
mod writing;

/// The members of a bundle: names and contents.
pub fn parts(bundle: &[u8]) -> Vec<(String, Vec<u8>)> {
    fixture::Parts::of(bundle).0
}
