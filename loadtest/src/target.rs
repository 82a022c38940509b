//! Where the limiter is, and which of its protocols is spoken.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use crate::wire::Wire;

/// A protocol and an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What is spoken.
    pub wire: Wire,
    /// Where.
    pub address: Address,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP socket.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// What is accepted.
pub const ACCEPTED: &str = "`resp://HOST:PORT`, `resp+unix:/PATH` or `http://HOST:PORT`";

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("found `{text}`{why}; expected {ACCEPTED}");
        if let Some(path) = text.strip_prefix("resp+unix:") {
            return Ok(Self { wire: Wire::Resp, address: Address::Unix(path.into()) });
        }
        let (wire, place) = match text.split_once("://") {
            Some(("resp", place)) => (Wire::Resp, place),
            Some(("http", place)) => (Wire::Http, place.trim_end_matches('/')),
            Some(_) | None => return Err(wrong("")),
        };
        let found = place.to_socket_addrs().map_err(|error| wrong(&format!(" ({error})")))?.next();
        let address = found.ok_or_else(|| wrong(" (no address of that name)"))?;
        Ok(Self { wire, address: Address::Tcp(address) })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, self.wire) {
            (Address::Tcp(address), Wire::Resp) => write!(f, "resp://{address}"),
            (Address::Tcp(address), Wire::Http) => write!(f, "http://{address}"),
            (Address::Unix(path), Wire::Resp) => write!(f, "resp+unix:{}", path.display()),
            (Address::Unix(path), Wire::Http) => write!(f, "http+unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_shown_alike() {
        for text in [
            "resp://127.0.0.1:7500",
            "resp+unix:/run/callgate/callgate.sock",
            "http://127.0.0.1:7501",
            "resp://[::1]:7500",
        ] {
            assert_eq!(text.parse::<Target>().map(|target| target.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "127.0.0.1:7500", "quic://127.0.0.1:7505", "resp://127.0.0.1"] {
            assert!(text.parse::<Target>().is_err_and(|error| error.contains("resp+unix")), "{text}");
        }
    }
}
