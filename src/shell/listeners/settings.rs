//! What the front ends need to know, and whether it may be served.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::access::Access;
use crate::codec::resp::Limits;

/// Where a front end listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket and its mode.
    Unix {
        /// Where.
        path: PathBuf,
        /// The file's mode, such as `0o660`.
        mode: u32,
    },
}

impl Endpoint {
    /// Only this host can reach it.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix { .. } => true,
        }
    }
}

/// Where datagrams are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatagramEndpoint {
    /// UDP; port 0 lets the system choose.
    Udp(SocketAddr),
    /// A Unix datagram socket and its mode.
    Unix {
        /// Where.
        path: PathBuf,
        /// The file's mode, such as `0o660`.
        mode: u32,
    },
}

impl DatagramEndpoint {
    /// Only this host can reach it.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        match self {
            Self::Udp(address) => address.ip().is_loopback(),
            Self::Unix { .. } => true,
        }
    }
}

impl fmt::Display for DatagramEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Bounds of every front end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Open connections, of RESP and of HTTP each.
    pub connections_max: usize,
    /// A connection that says nothing for so long is closed; zero is never.
    pub idle: Duration,
    /// A request whose first byte came must be there whole after so long.
    pub request: Duration,
    /// A client that takes less than 16 KiB of its waiting answers in so long, and not all of them, is closed.
    pub write: Duration,
    /// Bytes of requests and answers that all connections of one front end may hold together, beyond 16 KiB each; the
    /// connection that wants more is closed.
    pub buffered_bytes_max: usize,
    /// What one RESP command may weigh.
    pub resp: Limits,
    /// Bytes of one HTTP body.
    pub http_body_bytes_max: usize,
    /// Streams of events open at once; the rest of the connections stays for those who ask.
    pub event_streams_max: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            idle: Duration::from_secs(300),
            request: Duration::from_secs(30),
            write: Duration::from_secs(10),
            buffered_bytes_max: 256 * 1024 * 1024,
            resp: Limits::default(),
            http_body_bytes_max: 64 * 1024,
            event_streams_max: 64,
        }
    }
}

/// What [`super::Listeners::start`] serves.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// RESP; none turns it off.
    pub resp: Vec<Endpoint>,
    /// Datagrams; none turns them off.
    pub datagram: Vec<DatagramEndpoint>,
    /// HTTP over TCP.
    pub http: Option<SocketAddr>,
    /// The admin socket: HTTP with every right. Its mode is 0600.
    pub admin_socket: Option<PathBuf>,
    /// Threads of RESP and datagrams; 0 counts as 1.
    pub reactors: usize,
    /// Bounds.
    pub limits: ConnectionLimits,
    /// Secrets.
    pub access: Access,
}

/// An address that others than this host can reach, without a secret to keep them out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{key} is {found}, which others than this host can reach without a secret; accepted are loopback addresses, or {needed}"
)]
pub struct ExposureError {
    /// The configuration key.
    pub key: &'static str,
    /// The address.
    pub found: String,
    /// The key that would allow it.
    pub needed: &'static str,
}

/// Refuses addresses beyond loopback without authentication.
///
/// # Errors
/// Names the address, and the key that would allow it.
pub fn check_exposure(settings: &Settings) -> Result<(), ExposureError> {
    let open = settings.resp.iter().find(|endpoint| !endpoint.is_local());
    if let (Some(endpoint), None) = (open, &settings.access.resp_password) {
        return Err(ExposureError {
            key: "listen.resp",
            found: endpoint.to_string(),
            needed: "any address with listen.password_file set",
        });
    }
    let open = settings.datagram.iter().find(|endpoint| !endpoint.is_local());
    if let (Some(endpoint), None) = (open, &settings.access.resp_password) {
        return Err(ExposureError {
            key: "listen.datagram",
            found: endpoint.to_string(),
            needed: "any address with listen.password_file set",
        });
    }
    if let Some(address) = settings.http
        && !address.ip().is_loopback()
        && settings.access.http_tokens.is_empty()
    {
        return Err(ExposureError {
            key: "listen.http",
            found: address.to_string(),
            needed: "any address with listen.tokens_file set",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::config::{Role, Secret, Token};

    #[test]
    fn beyond_loopback_needs_a_secret() {
        let open: SocketAddr = "0.0.0.0:7500".parse().unwrap();
        let mut settings = Settings { resp: vec![Endpoint::Tcp(open)], ..Settings::default() };
        let error = check_exposure(&settings).unwrap_err().to_string();
        assert!(error.contains("listen.resp is 0.0.0.0:7500") && error.contains("listen.password_file"), "{error}");
        settings.access.resp_password = Some(Secret::new(b"x"));
        assert_eq!(check_exposure(&settings), Ok(()));
        let open = Settings { datagram: vec![DatagramEndpoint::Udp(open)], ..Settings::default() };
        let error = check_exposure(&open).unwrap_err().to_string();
        assert!(error.contains("listen.datagram is 0.0.0.0:7500") && error.contains("listen.password_file"), "{error}");
        settings.datagram = open.datagram;
        assert_eq!(check_exposure(&settings), Ok(()));
        settings.http = Some("[::]:7501".parse().unwrap());
        assert!(check_exposure(&settings).unwrap_err().to_string().contains("listen.tokens_file"));
        settings.access.http_tokens = vec![Token { secret: Secret::new(b"x"), role: Role::Admission }];
        assert_eq!(check_exposure(&settings), Ok(()));
        let local = Settings { http: Some("[::1]:0".parse().unwrap()), ..Settings::default() };
        assert_eq!(check_exposure(&local), Ok(()));
    }
}
