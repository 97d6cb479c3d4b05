//! What the server is started with: flags win over the environment, the environment over defaults; checked once.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::limits;

/// Settings of `serve`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// The data folder.
    pub data: PathBuf,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// This program, which starts itself again for each step and to look at a projection.
    pub program: PathBuf,
    /// Steps that the built-in runner runs at once; none: four a core.
    pub slots: Option<usize>,
    /// How long running steps may go on after the end was asked for.
    pub drain_ms: u64,
    /// How many persons approve an import; 0: nobody is asked.
    pub import_approvals: u32,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Plain HTTP never leaves the machine.
    #[error(
        "{0} is not a loopback address: transport security comes with a later version, and plain HTTP stays on this machine"
    )]
    NotLoopback(SocketAddr),
    /// Not an address.
    #[error("{0:?} is not an address and a port, for example 127.0.0.1:8420")]
    Address(String),
    /// Out of its bounds.
    #[error("--slots {0} is not within 1 to {max}", max = limits::RUNNER_SLOTS_MAX)]
    Slots(usize),
    /// Out of its bounds.
    #[error("--drain {0} ms is more than {max} ms", max = limits::DRAIN_MS_MAX)]
    Drain(u64),
    /// Out of its bounds.
    #[error("--import-approvals {0} is more than {max}", max = limits::APPROVERS_MAX)]
    ImportApprovals(u32),
}

impl ServeConfig {
    /// Checks what was given.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting.
    pub fn new(
        data: PathBuf,
        program: PathBuf,
        listen: &str,
        slots: Option<usize>,
        drain_ms: u64,
    ) -> Result<Self, ConfigError> {
        let listen = loopback(listen)?;
        if let Some(slots) = slots
            && !(1..=limits::RUNNER_SLOTS_MAX).contains(&slots)
        {
            return Err(ConfigError::Slots(slots));
        }
        if drain_ms > limits::DRAIN_MS_MAX {
            return Err(ConfigError::Drain(drain_ms));
        }
        Ok(ServeConfig {
            data,
            listen,
            program,
            slots,
            drain_ms,
            import_approvals: 0,
        })
    }

    /// The same, with so many persons who approve an import.
    ///
    /// # Errors
    /// More than [`limits::APPROVERS_MAX`].
    pub fn with_import_approvals(self, import_approvals: u32) -> Result<Self, ConfigError> {
        if import_approvals > limits::APPROVERS_MAX {
            return Err(ConfigError::ImportApprovals(import_approvals));
        }
        Ok(ServeConfig {
            import_approvals,
            ..self
        })
    }
}

/// An address of this machine alone, and a port.
///
/// # Errors
/// Not an address, or one that others reach.
pub fn loopback(listen: &str) -> Result<SocketAddr, ConfigError> {
    let spelled = listen.replacen("localhost", "127.0.0.1", 1);
    let listen: SocketAddr = spelled
        .parse()
        .map_err(|_| ConfigError::Address(listen.to_owned()))?;
    if !listen.ip().is_loopback() {
        return Err(ConfigError::NotLoopback(listen));
    }
    Ok(listen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_their_bounds_are_refused_by_name() {
        let config =
            |listen: &str, slots, drain| ServeConfig::new("d".into(), "p".into(), listen, slots, drain);
        assert!(config("127.0.0.1:0", None, 0).is_ok());
        assert!(config("localhost:8420", Some(1), 1).is_ok());
        assert!(config("[::1]:8420", None, 1).is_ok());
        let asking =
            |approvals| config("[::1]:1", None, 1).and_then(|good| good.with_import_approvals(approvals));
        assert_eq!(
            asking(limits::APPROVERS_MAX).map(|good| good.import_approvals),
            Ok(limits::APPROVERS_MAX)
        );
        let refused = Err(ConfigError::ImportApprovals(limits::APPROVERS_MAX + 1));
        assert_eq!(asking(limits::APPROVERS_MAX + 1), refused);
        assert!(matches!(
            config("0.0.0.0:1", None, 0),
            Err(ConfigError::NotLoopback(_))
        ));
        assert!(matches!(config("8420", None, 0), Err(ConfigError::Address(_))));
        assert!(matches!(
            config("127.0.0.1:1", Some(0), 0),
            Err(ConfigError::Slots(0))
        ));
        assert!(matches!(
            config("127.0.0.1:1", None, u64::MAX),
            Err(ConfigError::Drain(_))
        ));
    }
}
