//! Addresses as operators write them: the manager's, and a proxy's.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use url::{Host, Url};

use crate::protocol::Endpoint;

/// Paths that other products' guides have operators enter. They lead to our API, which lies at the root.
const FOREIGN_PATHS: [&str; 4] = [
    "/smarttransport",
    "/transportgateway/services/devicerequesthandler",
    "/its/service/oddce/services/ddceservice",
    "/licservice/license",
];

/// The longest address that is read, in bytes.
const ADDRESS_BYTES_MAX: usize = 2_048;

const MANAGER_ACCEPTED: &str = "https://HOST, https://HOST:PORT, either with a path below which the manager's API lies; \
     https://HOST/SmartTransport and https://HOST/Transportgateway/services/DeviceRequestHandler mean https://HOST";

const PROXY_ACCEPTED: &str = "http://HOST:PORT, https://HOST:PORT, or an IP address or name with a port, such as \
     10.0.0.1:3128, [2001:db8::1]:3128 or proxy.example.com:3128; user and password have keys of their own";

/// An address that is not one. It repeats the text only where that cannot hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found}; accepted: {accepted}")]
pub struct AddressError {
    /// What is wrong with it.
    pub found: String,
    /// What would do.
    pub accepted: &'static str,
}

/// Where the license manager is: HTTPS, a host, a port, and a path below which its API lies.
///
/// ```
/// use callgate::shell::license::transport::ManagerUrl;
/// let url: ManagerUrl = "https://lm.example.com/SmartTransport".parse().unwrap();
/// assert_eq!(url.to_string(), "https://lm.example.com");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerUrl(Url);

impl ManagerUrl {
    /// Where an endpoint is.
    #[must_use]
    pub fn endpoint(&self, endpoint: Endpoint) -> Url {
        self.below(endpoint.path())
    }

    /// A path below the API's base.
    #[must_use]
    pub(super) fn below(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{path}"));
        url
    }

    /// The host: a name, or an address (IPv6 without brackets).
    #[must_use]
    pub fn host(&self) -> String {
        host_text(self.0.host())
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }
}

impl FromStr for ManagerUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refuse = |found: String| AddressError { found, accepted: MANAGER_ACCEPTED };
        let mut url = parse(text).map_err(refuse)?;
        if url.scheme() != "https" {
            return Err(refuse(format!("an address that begins with {}:", url.scheme())));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("an address with a query or a fragment".to_owned()));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        let lower = path.to_ascii_lowercase();
        let base = FOREIGN_PATHS.iter().find_map(|foreign| {
            let head = lower.strip_suffix(foreign)?.len();
            path.get(..head).map(str::to_owned)
        });
        url.set_path(base.as_deref().unwrap_or(&path));
        Ok(Self(url))
    }
}

impl fmt::Display for ManagerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// A proxy that opens a tunnel to the manager (`CONNECT`, RFC 9110, section 9.3.6), spoken to over HTTP or HTTPS.
///
/// ```
/// use callgate::shell::license::transport::ProxyAddress;
/// for text in ["http://proxy.example.com:3128", "proxy.example.com:3128"] {
///     let proxy: ProxyAddress = text.parse().unwrap();
///     assert_eq!(proxy.to_string(), "http://proxy.example.com:3128");
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyAddress(Url);

impl ProxyAddress {
    /// It is spoken to over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The host: a name, or an address (IPv6 without brackets).
    #[must_use]
    pub fn host(&self) -> String {
        host_text(self.0.host())
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(80)
    }

    pub(super) fn url(&self) -> Url {
        self.0.clone()
    }
}

impl FromStr for ProxyAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refuse = |found: String| AddressError { found, accepted: PROXY_ACCEPTED };
        let text = text.trim();
        let url = if text.contains("://") {
            parse(text).map_err(refuse)?
        } else {
            // An IPv6 address may come without brackets only if it comes without a port, which is needed.
            if text.parse::<Ipv6Addr>().is_ok() || !has_port(text) {
                return Err(refuse("an address without a port".to_owned()));
            }
            parse(&format!("http://{text}")).map_err(refuse)?
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse(format!("an address that begins with {}:", url.scheme())));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("an address with a path, a query or a fragment".to_owned()));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// An address without user information: what is printed must never hold a password.
fn parse(text: &str) -> Result<Url, String> {
    let text = text.trim();
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(format!("{} bytes", text.len()));
    }
    if text.contains('@') {
        return Err("an address with an @: user and password don't belong into an address".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("{text:?} ({error})"))?;
    match url.host() {
        Some(Host::Domain("")) | None => Err(format!("{text:?}, which names no host")),
        Some(Host::Domain(_) | Host::Ipv4(_) | Host::Ipv6(_)) => Ok(url),
    }
}

fn has_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

fn host_text(host: Option<Host<&str>>) -> String {
    match host {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).to_string(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_on_premises_paths_and_the_cloud_path_lead_to_the_api_and_another_path_is_its_base() {
        for (text, entitlement) in [
            ("https://lm.example.com", "https://lm.example.com/v1/agent/entitlement"),
            ("https://lm.example.com/", "https://lm.example.com/v1/agent/entitlement"),
            ("https://lm.example.com:8443/SmartTransport", "https://lm.example.com:8443/v1/agent/entitlement"),
            (
                "https://10.0.0.1/Transportgateway/services/DeviceRequestHandler",
                "https://10.0.0.1/v1/agent/entitlement",
            ),
            ("https://x.example/licservice/license", "https://x.example/v1/agent/entitlement"),
            ("https://x.example/licensing/", "https://x.example/licensing/v1/agent/entitlement"),
            ("https://[::1]:7600", "https://[::1]:7600/v1/agent/entitlement"),
        ] {
            let url: ManagerUrl = text.parse().unwrap();
            assert_eq!(url.endpoint(Endpoint::Entitlement).as_str(), entitlement, "{text}");
        }
    }

    #[test]
    fn only_https_without_user_query_or_fragment_is_taken_and_a_password_is_not_repeated() {
        for text in [
            "http://lm.example.com",
            "ftp://lm.example.com",
            "lm.example.com",
            "https://",
            "https://op:hunter2@lm.example.com",
            "https://lm.example.com/?a=b",
            "https://lm.example.com/#a",
        ] {
            let told = text.parse::<ManagerUrl>().unwrap_err().to_string();
            assert!(told.contains("accepted: https://HOST") && !told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn a_proxy_is_a_url_an_address_or_a_name_with_a_port() {
        for (text, host, port, https) in [
            ("http://proxy.example.com:3128", "proxy.example.com", 3128, false),
            ("http://proxy.example.com/", "proxy.example.com", 80, false),
            ("https://proxy.example.com", "proxy.example.com", 443, true),
            ("10.0.0.1:3128", "10.0.0.1", 3128, false),
            ("[2001:db8::1]:3128", "2001:db8::1", 3128, false),
            ("proxy.example.com:8080", "proxy.example.com", 8080, false),
        ] {
            let proxy: ProxyAddress = text.parse().unwrap();
            assert_eq!((proxy.host().as_str(), proxy.port(), proxy.is_https()), (host, port, https), "{text}");
        }
        for text in
            ["", "proxy.example.com", "10.0.0.1", "::1", "socks5://a:1", "http://op:hunter2@a:1", "a:1/b", "a:99999"]
        {
            let told = text.parse::<ProxyAddress>().unwrap_err().to_string();
            assert!(told.contains("accepted:") && !told.contains("hunter2"), "{told}");
        }
    }
}
