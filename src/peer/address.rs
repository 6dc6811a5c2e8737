//! Where a peer is and who it must be: `pubkey@host:port`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use bitcoin::secp256k1::PublicKey;

const MAX_HOST: usize = 253;

/// A peer's public key, and the host and port where it listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerAddress {
    /// Who must answer there: the transport proves it.
    pub key: PublicKey,
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

/// What is wrong with an address, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("peer address {text:?} has no `@`: write pubkey@host:port")]
    NoAt { text: String },
    #[error("peer address: {key:?} is not a public key: it must be 66 hex digits beginning with 02 or 03")]
    Key { key: String },
    #[error("peer address: {host:?} has no port: write pubkey@host:port, for example …@127.0.0.1:9735")]
    NoPort { host: String },
    #[error("peer address: port {port:?} must be a number from 1 to 65535")]
    Port { port: String },
    #[error("peer address: host {host:?} must be a name, an IPv4 address, or an IPv6 address in brackets")]
    Host { host: String },
    #[error("listen address {text:?} must be an IP address and a port, for example 127.0.0.1:9735 or [::1]:9735")]
    Listen { text: String },
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (key, place) = text.split_once('@').ok_or_else(|| AddressError::NoAt { text: shorten(text) })?;
        let bad_key = || AddressError::Key { key: shorten(key) };
        // Only the short form: a key has one way to be written.
        let key = (key.len() == 66).then(|| PublicKey::from_str(key).ok()).flatten().ok_or_else(bad_key)?;
        let (host, port) = host_and_port(place)?;
        Ok(PeerAddress { key, host, port })
    }
}

/// A host and a port, as the part of an address after the `@` has them.
fn host_and_port(place: &str) -> Result<(String, u16), AddressError> {
    let no_port = || AddressError::NoPort { host: shorten(place) };
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(|| AddressError::Host { host: shorten(place) })?;
            let bad_host = || AddressError::Host { host: shorten(host) };
            host.parse::<std::net::Ipv6Addr>().map_err(|_| bad_host())?;
            (host, rest.strip_prefix(':').ok_or_else(no_port)?)
        }
        None => place.rsplit_once(':').ok_or_else(no_port)?,
    };
    let bracketed = place.starts_with('[');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !bracketed && (host.is_empty() || host.len() > MAX_HOST || !host.bytes().all(plain)) {
        return Err(AddressError::Host { host: shorten(host) });
    }
    let number = port.parse::<u16>().ok().filter(|number| *number > 0 && port.bytes().all(|b| b.is_ascii_digit()));
    let port = number.ok_or_else(|| AddressError::Port { port: shorten(port) })?;
    Ok((host.to_owned(), port))
}

/// Reads where others dial a node: `host:port`, and not every address of a machine at once.
pub fn parse_announce(text: &str) -> Result<String, AddressError> {
    let (host, _) = host_and_port(text)?;
    let anywhere = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified());
    match anywhere {
        true => Err(AddressError::Host { host: shorten(&host) }),
        false => Ok(text.to_owned()),
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.key, self.place())
    }
}

impl PeerAddress {
    /// `host:port`, with brackets around an IPv6 address.
    pub fn place(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Reads the address to listen on. Port 0 lets the system choose one.
pub fn parse_listen(text: &str) -> Result<SocketAddr, AddressError> {
    text.parse().map_err(|_| AddressError::Listen { text: shorten(text) })
}

/// What a person typed can be anything: an error repeats only its beginning.
fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

    fn error(text: &str) -> String {
        text.parse::<PeerAddress>().unwrap_err().to_string()
    }

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        for place in ["127.0.0.1:9735", "node.example.org:1", "[::1]:65535", "lender_1:9735"] {
            let text = format!("{KEY}@{place}");
            let address: PeerAddress = text.parse().unwrap();
            assert_eq!((address.to_string(), address.place()), (text, place.to_owned()));
        }
    }

    #[test]
    fn a_wrong_address_is_told_what_is_wrong() {
        assert_eq!(error("node:9735"), r#"peer address "node:9735" has no `@`: write pubkey@host:port"#);
        assert_eq!(
            error("02ab@node:9735"),
            r#"peer address: "02ab" is not a public key: it must be 66 hex digits beginning with 02 or 03"#
        );
        assert_eq!(
            error(&format!("{KEY}@node")),
            r#"peer address: "node" has no port: write pubkey@host:port, for example …@127.0.0.1:9735"#
        );
        for port in ["0", "65536", "", "+1", "x"] {
            let expected = format!("peer address: port {port:?} must be a number from 1 to 65535");
            assert_eq!(error(&format!("{KEY}@node:{port}")), expected);
        }
        for host in ["", "a b", "::1", "[::1", "[node]", "a/b", "a@b"] {
            assert!(error(&format!("{KEY}@{host}:9735")).contains("must be a name, an IPv4 address"), "{host}");
        }
    }

    #[test]
    fn what_is_announced_is_one_host_and_one_port() {
        for text in ["lender.example.org:9810", "203.0.113.7:1", "[2001:db8::1]:65535"] {
            assert_eq!(parse_announce(text).as_deref(), Ok(text));
        }
        for text in ["0.0.0.0:9810", "[::]:9810", "lender.example.org", "host:0", "http://host:1", "key@host:1", ""] {
            assert!(parse_announce(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wrong_listen_address_is_told_what_is_right() {
        assert!(parse_listen("127.0.0.1:0").is_ok() && parse_listen("[::1]:9735").is_ok());
        assert_eq!(
            parse_listen("localhost").unwrap_err().to_string(),
            r#"listen address "localhost" must be an IP address and a port, for example 127.0.0.1:9735 or [::1]:9735"#
        );
    }
}
