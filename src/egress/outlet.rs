//! The server's way out: whether anything may leave now, and the connection if so.
//!
//! While it is sealed no name is looked up and no socket opened, and who waits for an answer is told. Here stands the
//! state alone; that nothing passes by it is for the kernel to enforce.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::metered::Allowance;
use super::{Channel, EgressError, begin};
use crate::limits;

/// Whether anything may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It may.
    Open,
    /// Nothing may.
    Sealed,
}

/// Where a request goes: a name or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The name or address, an IPv6 address without its brackets.
    host: String,
    port: u16,
}

impl Destination {
    /// A host, whose form whoever reads addresses has looked at, and a port that is not 0.
    pub fn new(host: String, port: u16) -> Self {
        Destination { host, port }
    }

    /// The address, when no name has to be looked up.
    ///
    /// # Errors
    /// [`EgressError::NoReceiver`].
    pub fn literal(&self) -> Result<Option<IpAddr>, EgressError> {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => check_receiver(ip).map(Some),
            Err(_) => Ok(None),
        }
    }
}

/// As the `Host` header names it.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Destination { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]")?;
        } else {
            f.write_str(host)?;
        }
        if *port == 80 {
            return Ok(());
        }
        write!(f, ":{port}")
    }
}

/// The one way out of a server.
#[derive(Debug)]
pub struct Outlet {
    mode: watch::Sender<Mode>,
}

impl Outlet {
    /// A way out that begins in this mode.
    pub fn new(mode: Mode) -> Self {
        Outlet {
            mode: watch::Sender::new(mode),
        }
    }

    /// Whether anything may leave now.
    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// Changes the mode. What is on its way when it is sealed is cut off by whoever sends it.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Waits until it is in this mode.
    pub async fn wait_for(&self, mode: Mode) {
        let mut modes = self.mode.subscribe();
        // It ends with this outlet alone, which is borrowed.
        let _ = modes.wait_for(|now| *now == mode).await;
    }

    /// Connects. Must be called within a runtime.
    ///
    /// # Errors
    /// [`EgressError::Sealed`] before anything is tried; else where to and why not.
    pub async fn open(&self, destination: &Destination) -> Result<Channel, EgressError> {
        if self.mode() == Mode::Sealed {
            return Err(EgressError::Sealed);
        }
        let limit = Duration::from_millis(limits::CONNECT_MS_MAX);
        let opened = tokio::select! {
            opened = tokio::time::timeout(limit, connect(destination)) => opened,
            () = self.wait_for(Mode::Sealed) => return Err(EgressError::Sealed),
        };
        let socket = opened.map_err(|_| EgressError::Slow(destination.to_string()))??;
        let answers = Allowance::of(limits::WEBHOOK_ANSWER_BYTES_MAX);
        begin(socket, destination.to_string(), answers).await
    }
}

async fn connect(destination: &Destination) -> Result<TcpStream, EgressError> {
    let Destination { host, port } = destination;
    let found = tokio::net::lookup_host((host.as_str(), *port)).await;
    let addresses: Vec<SocketAddr> = found
        .map_err(|source| EgressError::Lookup {
            name: host.clone(),
            source,
        })?
        .take(limits::LOOKUP_ADDRESSES_MAX)
        .collect();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        // A name may lead where no address may.
        check_receiver(address.ip())?;
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(EgressError::Connect {
        target: destination.to_string(),
        source: failure,
    })
}

/// Unspecified, multicast, broadcast and link-local addresses: the last ones are where hosts are asked for their own secrets.
/// So are addresses of IPv6 that lead to one of IPv4 among these.
fn check_receiver(ip: IpAddr) -> Result<IpAddr, EgressError> {
    let is_none_v4 =
        |v4: Ipv4Addr| v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || v4.is_link_local();
    let is_none = match ip.to_canonical() {
        IpAddr::V4(v4) => is_none_v4(v4),
        IpAddr::V6(v6) if v6.is_loopback() => false,
        IpAddr::V6(v6) => {
            let embedded = embedded_v4(v6).is_some_and(is_none_v4);
            v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local() || embedded
        }
    };
    if is_none {
        Err(EgressError::NoReceiver(ip))
    } else {
        Ok(ip)
    }
}

/// The address of IPv4 in one of NAT64 (RFC 6052), of 6to4 (RFC 3056), or in the compatible form (RFC 4291).
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_leaves_while_it_is_sealed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let destination = Destination::new("127.0.0.1".to_owned(), port);
        let outlet = Outlet::new(Mode::Sealed);
        let refused = outlet.open(&destination).await;
        assert!(matches!(refused, Err(EgressError::Sealed)));
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "nobody came");
        outlet.set(Mode::Open);
        assert!(outlet.open(&destination).await.unwrap().is_open());
        outlet.set(Mode::Sealed);
        assert!(matches!(
            outlet.open(&destination).await,
            Err(EgressError::Sealed)
        ));
    }

    #[tokio::test]
    async fn some_addresses_are_nobodys() {
        let outlet = Outlet::new(Mode::Open);
        for text in [
            "0.0.0.0",
            "255.255.255.255",
            "169.254.169.254",
            "224.0.0.1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
        ] {
            let destination = Destination::new(text.to_owned(), 9);
            assert!(
                matches!(destination.literal(), Err(EgressError::NoReceiver(_))),
                "{text}"
            );
            let refused = outlet.open(&destination).await;
            assert!(matches!(refused, Err(EgressError::NoReceiver(_))), "{text}");
        }
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "::1",
            "203.0.113.9",
            "64:ff9b::7f00:1",
            "2001:db8::1",
        ] {
            assert!(
                Destination::new(text.to_owned(), 9).literal().unwrap().is_some(),
                "{text}"
            );
        }
        assert_eq!(Destination::new("::1".to_owned(), 9).to_string(), "[::1]:9");
        assert_eq!(Destination::new("board".to_owned(), 80).to_string(), "board");
    }
}
