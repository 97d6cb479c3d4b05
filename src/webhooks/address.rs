//! The address of a webhook: `http://HOST[:PORT][/PATH][?QUERY]` and nothing else. It looks nothing up.

use std::str::FromStr;

use crate::egress::Destination;
use crate::limits;

/// Where a webhook's requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    destination: Destination,
    /// Path and query, as they stand in the request.
    path: String,
}

/// Why a text is no address of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No URL at all.
    #[error(
        "not a URL: http://HOST[:PORT]/PATH in at most {} visible ASCII characters",
        limits::WEBHOOK_URL_BYTES_MAX
    )]
    Invalid,
    /// Another scheme.
    #[error("the scheme is http")]
    Scheme,
    /// TLS is not there yet.
    #[error("this version cannot send over TLS; put a relay on this host or its network")]
    Tls,
    /// It would be a secret in a place that is recorded.
    #[error("no user and no password stand before the host; requests are signed instead")]
    Userinfo,
    /// It is never sent.
    #[error("a fragment is not sent; leave out # and what follows")]
    Fragment,
    /// No host.
    #[error("a host is a name, an IPv4 address, or an IPv6 address in brackets")]
    Host,
    /// No port.
    #[error("a port is 1 to 65535")]
    Port,
    /// Nobody is there.
    #[error("unspecified, multicast, broadcast and link-local addresses have no receiver")]
    NoReceiver,
}

impl AddressError {
    /// Every error.
    pub const ALL: [AddressError; 8] = [
        AddressError::Invalid,
        AddressError::Scheme,
        AddressError::Tls,
        AddressError::Userinfo,
        AddressError::Fragment,
        AddressError::Host,
        AddressError::Port,
        AddressError::NoReceiver,
    ];

    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            AddressError::Invalid => "url_invalid",
            AddressError::Scheme => "url_scheme",
            AddressError::Tls => "url_tls_unsupported",
            AddressError::Userinfo => "url_userinfo",
            AddressError::Fragment => "url_fragment",
            AddressError::Host => "url_host",
            AddressError::Port => "url_port",
            AddressError::NoReceiver => "url_address",
        }
    }
}

impl Address {
    /// Where to connect.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// What is asked for there.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if text.len() > limits::WEBHOOK_URL_BYTES_MAX || !text.bytes().all(is_plain) {
            return Err(AddressError::Invalid);
        }
        let (scheme, rest) = text.split_once(':').ok_or(AddressError::Invalid)?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" => {}
            "https" => return Err(AddressError::Tls),
            _ => return Err(AddressError::Scheme),
        }
        let rest = rest.strip_prefix("//").ok_or(AddressError::Invalid)?;
        if rest.contains('#') {
            return Err(AddressError::Fragment);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let destination = read_authority(authority)?;
        destination.literal().map_err(|_| AddressError::NoReceiver)?;
        let path = match path.strip_prefix('?') {
            Some(_) => format!("/{path}"),
            None if path.is_empty() => "/".to_owned(),
            None => path.to_owned(),
        };
        if path.parse::<hyper::Uri>().is_err() {
            return Err(AddressError::Invalid);
        }
        Ok(Address { destination, path })
    }
}

fn read_authority(text: &str) -> Result<Destination, AddressError> {
    if text.contains('@') {
        return Err(AddressError::Userinfo);
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(AddressError::Host)?;
        let ip = host
            .parse::<std::net::Ipv6Addr>()
            .map_err(|_| AddressError::Host)?;
        (ip.to_string(), rest)
    } else {
        let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        let good = (1..=253).contains(&host.len())
            && !host.starts_with(['.', '-'])
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        if !good {
            return Err(AddressError::Host);
        }
        (host.to_ascii_lowercase(), port)
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => 80,
        None => return Err(AddressError::Host),
        Some(digits) => read_port(digits)?,
    };
    Ok(Destination::new(host, port))
}

fn read_port(digits: &str) -> Result<u16, AddressError> {
    // A sign would be read as well.
    let port = digits.parse().ok().filter(|port| *port != 0);
    port.filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or(AddressError::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_whole() {
        for (text, authority, path) in [
            ("http://board", "board", "/"),
            (
                "HTTP://Board.Example:8080/a/b?c=d",
                "board.example:8080",
                "/a/b?c=d",
            ),
            ("http://10.0.0.7:80?x", "10.0.0.7", "/?x"),
            ("http://[::1]:9/", "[::1]:9", "/"),
            ("http://localhost:65535/%20", "localhost:65535", "/%20"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.destination().to_string(), authority, "{text}");
            assert_eq!(address.path(), path, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_code() {
        let long = format!("http://a/{}", "x".repeat(limits::WEBHOOK_URL_BYTES_MAX));
        for (text, code) in [
            ("", "url_invalid"),
            ("board", "url_invalid"),
            ("http:board", "url_invalid"),
            ("http://a b/", "url_invalid"),
            ("http://a/\u{e4}", "url_invalid"),
            ("http://a/\r\nx: y", "url_invalid"),
            ("http://a\\@b/", "url_invalid"),
            (&long, "url_invalid"),
            ("ftp://a/", "url_scheme"),
            ("file:///etc/passwd", "url_scheme"),
            ("https://a/", "url_tls_unsupported"),
            ("http://u@a/", "url_userinfo"),
            ("http://u:p@a/", "url_userinfo"),
            ("http://a/#f", "url_fragment"),
            ("http://a#f", "url_fragment"),
            ("http://", "url_host"),
            ("http:///x", "url_host"),
            ("http://:80/", "url_host"),
            ("http://[::1/", "url_host"),
            ("http://[127.0.0.1]/", "url_host"),
            ("http://[::1]x/", "url_host"),
            ("http://-a/", "url_host"),
            ("http://a:0/", "url_port"),
            ("http://a:/", "url_port"),
            ("http://a:65536/", "url_port"),
            ("http://a:+80/", "url_port"),
            ("http://a:8:0/", "url_port"),
            ("http://0.0.0.0/", "url_address"),
            ("http://169.254.169.254/latest", "url_address"),
            ("http://[fe80::1]:80/", "url_address"),
        ] {
            let refused = text.parse::<Address>().unwrap_err();
            assert_eq!(refused.code(), code, "{text}");
        }
    }
}
