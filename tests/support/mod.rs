//! What several test modules stand on.

pub mod appliance;
pub mod random;
pub mod sim_disk;
mod sim_medium;
