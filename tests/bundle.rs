//! Bundles: written, verified by us and by the two standalone scripts, damaged in every place.

mod again;
mod container;
mod contents;
mod continuity;
mod envelope;
mod fixture;
mod flips;
mod orders;
mod schemas;
mod standalone;
mod trust;
mod writing;
