//! Addresses of destinations: webhooks, syslog daemons, mail servers. Each reads what a person writes, and shows it in one form.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// A host, by name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    host: Host,
    port: u16,
}

impl HostPort {
    pub(super) const ACCEPTED: &'static str =
        "a host with a port, such as \"mail.example.com:587\" or \"[2001:db8::1]:25\"";

    /// The host, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is this host itself.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_local(&self.host)
    }
}

fn is_local(host: &Host<impl AsRef<str>>) -> bool {
    match host {
        Host::Domain(name) => name.as_ref().eq_ignore_ascii_case("localhost"),
        Host::Ipv4(address) => IpAddr::V4(*address).is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).is_loopback(),
    }
}

/// Not what is accepted; what that is says the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnAddress;

impl fmt::Display for NotAnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an address")
    }
}

impl FromStr for HostPort {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAnAddress)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(NotAnAddress)?;
        let host = Host::parse(host).map_err(|_| NotAnAddress)?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Where a syslog daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A datagram socket of this host.
    Unix(PathBuf),
    /// Datagrams (RFC 5426).
    Udp(HostPort),
    /// A connection (RFC 6587, counted octets).
    Tcp(HostPort),
}

impl SyslogAddress {
    pub(super) const ACCEPTED: &'static str =
        "\"unix:/dev/log\" (an absolute path), \"udp://HOST:PORT\" or \"tcp://HOST:PORT\"";
}

impl Default for SyslogAddress {
    fn default() -> Self {
        Self::Unix(PathBuf::from("/dev/log"))
    }
}

impl FromStr for SyslogAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') && path.len() <= 107 {
                Ok(Self::Unix(path.into()))
            } else {
                Err(NotAnAddress)
            };
        }
        if let Some(host) = text.strip_prefix("udp://") {
            return host.parse().map(Self::Udp);
        }
        text.strip_prefix("tcp://").ok_or(NotAnAddress)?.parse().map(Self::Tcp)
    }
}

impl fmt::Display for SyslogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Udp(host) => write!(f, "udp://{host}"),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// Where a webhook is: https, or http to this host itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

impl WebhookUrl {
    pub(super) const ACCEPTED: &'static str = "an https:// address without user and password (http:// only to this host itself: 127.0.0.1, [::1] or localhost)";

    /// The address.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// Whether it is protected by TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl FromStr for WebhookUrl {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let url = Url::parse(text).map_err(|_| NotAnAddress)?;
        let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let host = url.host().ok_or(NotAnAddress)?;
        let scheme = url.scheme() == "https" || (url.scheme() == "http" && is_local(&host));
        if bare && scheme && text.len() <= 2_048 { Ok(Self(url)) } else { Err(NotAnAddress) }
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {
        $(
            impl Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                }
            }
        )*
    };
}

as_text!(HostPort, SyslogAddress, WebhookUrl);
