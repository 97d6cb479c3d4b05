//! What several test modules stand on.

pub mod appliance;
pub mod os_disk;
pub mod program;
pub mod random;
pub mod receiver;
mod sim_content;
pub mod sim_disk;
mod sim_medium;
pub mod websocket;
