//! The one place through which anything may ever leave this process.
//!
//! The command line uses [`open`]: loopback addresses alone, so nothing leaves the machine, and names are never looked up.
//! The server uses its [`Outlet`], which opens nothing while it is sealed. No connection is made otherwise.
//! It knows HTTP/1 well enough to send a request and nothing of what is asked or answered.

mod metered;
mod outlet;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use self::metered::{Allowance, Metered};
pub use self::outlet::{Destination, Mode, Outlet};
use crate::limits;

/// What a request carries.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Why nothing was sent, or no answer came.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// Not `http://HOST:PORT`.
    #[error("{0:?} is not the address of a server, for example http://127.0.0.1:8420")]
    Address(String),
    /// Plain HTTP is for this machine, and TLS is not there yet.
    #[error("{0} asks for TLS, which this version does not have; servers listen on loopback only")]
    Tls(String),
    /// An address beyond this machine.
    #[error(
        "{0} is not a loopback address: nothing may leave this machine, and names other than localhost are not looked up"
    )]
    NotLoopback(String),
    /// Nothing may leave now.
    #[error("the appliance is sealed: nothing leaves it")]
    Sealed,
    /// An address at which nobody can be.
    #[error("{0} is an address that no receiver has")]
    NoReceiver(IpAddr),
    /// The name leads nowhere.
    #[error("cannot look up {name}: {source}")]
    Lookup {
        /// The name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody accepts there.
    #[error("cannot connect to {target}: {source}")]
    Connect {
        /// Where to.
        target: String,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("{0} did not accept the connection in time")]
    Slow(String),
    /// The connection broke off.
    #[error("the connection to {target} broke off: {source}")]
    Broken {
        /// Where to.
        target: String,
        /// What was seen of it.
        source: hyper::Error,
    },
}

/// A server that may be connected to: `http://HOST:PORT` with a loopback address or `localhost`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Localhost,
}

impl Target {
    /// As the `Host` header names it.
    pub fn authority(&self) -> String {
        let port = self.port;
        match self.host {
            Host::Ip(ip) => SocketAddr::new(ip, port).to_string(),
            Host::Localhost => format!("localhost:{port}"),
        }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let ips = match self.host {
            Host::Ip(ip) => vec![ip],
            Host::Localhost => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        };
        ips.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

impl FromStr for Target {
    type Err = EgressError;

    fn from_str(text: &str) -> Result<Self, EgressError> {
        let not_an_address = || EgressError::Address(text.to_owned());
        if text.starts_with("https://") {
            return Err(EgressError::Tls(text.to_owned()));
        }
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '@', '?', '#']) {
            return Err(not_an_address());
        }
        if let Ok(address) = authority.parse::<SocketAddr>() {
            if !address.ip().is_loopback() {
                return Err(EgressError::NotLoopback(text.to_owned()));
            }
            let host = Host::Ip(address.ip());
            return Ok(Target {
                host,
                port: address.port(),
            });
        }
        let (name, port) = authority.rsplit_once(':').ok_or_else(not_an_address)?;
        let port: u16 = port.parse().map_err(|_| not_an_address())?;
        if name.is_empty() || name.contains([':', '[', ']']) {
            return Err(not_an_address());
        }
        if !name.eq_ignore_ascii_case("localhost") {
            return Err(EgressError::NotLoopback(text.to_owned()));
        }
        Ok(Target {
            host: Host::Localhost,
            port,
        })
    }
}

/// An open connection. Ends when it is dropped; an answer's body can be read only as long as it lives.
#[derive(Debug)]
pub struct Channel {
    target: String,
    sender: SendRequest<Body>,
    /// What may still come in answer to the request that was sent last.
    allowance: Allowance,
    /// Moves bytes; ended by the drop.
    driver: JoinHandle<()>,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Connects to `target`. Must be called within a runtime.
///
/// # Errors
/// [`EgressError`] says where to and why not.
pub async fn open(target: &Target) -> Result<Channel, EgressError> {
    let limit = Duration::from_millis(limits::CONNECT_MS_MAX);
    let socket = tokio::time::timeout(limit, connect(target))
        .await
        .map_err(|_| EgressError::Slow(target.to_string()))??;
    begin(socket, target.to_string(), Allowance::any()).await
}

/// Begins to speak HTTP over a socket.
async fn begin(socket: TcpStream, target: String, allowance: Allowance) -> Result<Channel, EgressError> {
    // Small requests should leave at once; without it they merely wait.
    let _ = socket.set_nodelay(true);
    let metered = Metered::new(socket, allowance.clone());
    let begun = http1::handshake(TokioIo::new(metered)).await;
    let (sender, connection) = begun.map_err(|source| EgressError::Broken {
        target: target.clone(),
        source,
    })?;
    let driver = tokio::spawn(async move {
        // How it ended is seen by whoever waits for an answer.
        let _ = connection.await;
    });
    Ok(Channel {
        target,
        sender,
        allowance,
        driver,
    })
}

async fn connect(target: &Target) -> Result<TcpStream, EgressError> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in target.addresses() {
        // The reading of a target refuses these already; the check stands where it counts.
        if !address.ip().is_loopback() {
            return Err(EgressError::NotLoopback(target.to_string()));
        }
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(EgressError::Connect {
        target: target.to_string(),
        source: failure,
    })
}

impl Channel {
    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// [`EgressError::Broken`]; whether the request arrived is then unknown.
    pub async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, EgressError> {
        let broken = |source| EgressError::Broken {
            target: self.target.clone(),
            source,
        };
        self.sender.ready().await.map_err(broken)?;
        self.allowance.renew();
        self.sender.send_request(request).await.map_err(broken)
    }

    /// False once the other side has ended it.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_targets() {
        for (text, authority) in [
            ("http://127.0.0.1:8420", "127.0.0.1:8420"),
            ("http://127.0.0.1:8420/", "127.0.0.1:8420"),
            ("127.3.2.1:1", "127.3.2.1:1"),
            ("http://[::1]:9", "[::1]:9"),
            ("http://localhost:80", "localhost:80"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.authority(), authority, "{text}");
        }
        for text in [
            "http://192.0.2.1:80",
            "http://example.com:80",
            "http://[2001:db8::1]:80",
            "0.0.0.0:1",
        ] {
            let refused = text.parse::<Target>().unwrap_err();
            assert!(
                matches!(refused, EgressError::NotLoopback(_)),
                "{text}: {refused}"
            );
            assert!(refused.to_string().contains(text), "{refused}");
        }
        for text in [
            "",
            "http://",
            "http://127.0.0.1",
            "http://localhost:x",
            "http://a@127.0.0.1:1",
            "http://127.0.0.1:1/x",
        ] {
            let refused = text.parse::<Target>().unwrap_err();
            assert!(matches!(refused, EgressError::Address(_)), "{text}: {refused}");
        }
        assert!(matches!(
            "https://127.0.0.1:1".parse::<Target>(),
            Err(EgressError::Tls(_))
        ));
    }

    #[tokio::test]
    async fn a_target_made_by_other_means_is_refused_before_a_socket_is_opened() {
        let target = Target {
            host: Host::Ip([192, 0, 2, 1].into()),
            port: 9,
        };
        assert!(matches!(open(&target).await, Err(EgressError::NotLoopback(_))));
    }
}
