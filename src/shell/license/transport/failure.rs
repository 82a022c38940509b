//! From what a library says to the step of the way that failed.

use std::error::Error as StdError;
use std::io;

use rustls::CertificateError;

use super::Settings;
use super::trust::Peers;
use crate::license::agent::{TransportFailure, TransportStep};

/// A name that cannot be resolved.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {reason}")]
pub(super) struct NotResolved {
    pub(super) name: String,
    pub(super) reason: String,
}

pub(super) fn failure(step: TransportStep, text: impl Into<String>) -> TransportFailure {
    TransportFailure { step, text: text.into() }
}

/// What an error of an exchange means. The innermost cause that is known decides.
pub(super) fn explain(error: &reqwest::Error, settings: &Settings, peers: &Peers) -> TransportFailure {
    let mut found = None;
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(at) = cause {
        // Deeper causes overwrite: they are nearer to what happened.
        found = known(at, settings, peers).or(found);
        cause = at.source();
    }
    if let Some(found) = found {
        return found;
    }
    let text = innermost(error);
    if error.is_connect() {
        failure(TransportStep::Tcp, format!("no connection to {}: {text}", way(settings)))
    } else if error.is_builder() || error.is_request() && error.url().is_none() {
        failure(TransportStep::Configuration, format!("the request cannot be made: {text}"))
    } else {
        failure(TransportStep::Http, format!("{} broke the exchange off: {text}", settings.peer_text()))
    }
}

fn known(cause: &(dyn StdError + 'static), settings: &Settings, peers: &Peers) -> Option<TransportFailure> {
    if let Some(dns) = cause.downcast_ref::<NotResolved>() {
        return Some(not_resolved(dns, settings));
    }
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(tls_failure(tls, settings, peers));
    }
    if let Some(io) = cause.downcast_ref::<io::Error>() {
        match io.get_ref() {
            // `source` of such an error is its content's source: the content itself would be passed over.
            Some(inner) => return known(inner, settings, peers),
            None if is_connecting(io.kind()) => {
                return Some(failure(TransportStep::Tcp, format!("no connection to {}: {io}", way(settings))));
            }
            None => {}
        }
    }
    if let Some(http) = cause.downcast_ref::<hyper::Error>() {
        if http.is_parse() {
            let text = format!("{} does not speak HTTP: {http}", settings.peer_text());
            return Some(failure(TransportStep::Http, text));
        }
        if http.is_incomplete_message() {
            return Some(failure(TransportStep::Http, format!("{} cut its answer short", settings.peer_text())));
        }
    }
    tunnel_failure(&cause.to_string(), settings)
}

const fn is_connecting(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::TimedOut
    )
}

/// The tunnel's error has no type that we could name: its text is all there is.
fn tunnel_failure(text: &str, settings: &Settings) -> Option<TransportFailure> {
    let what = text.strip_prefix("tunnel error: ")?;
    let proxy = settings.proxy.as_ref().map_or_else(String::new, |proxy| proxy.address.to_string());
    let manager = settings.manager_text();
    let text = match what {
        "proxy authorization required" => {
            let given = settings.proxy.as_ref().is_some_and(|proxy| proxy.user.is_some());
            let hint = if given {
                "it does not accept license.proxy_user with the password of license.proxy_password_file"
            } else {
                "set license.proxy_user and license.proxy_password_file"
            };
            format!("the proxy {proxy} asks for user and password (407): {hint}")
        }
        "unsuccessful" => format!("the proxy {proxy} does not open a way to {manager}: ask who runs it to allow that"),
        "unexpected end of file" => {
            format!("the proxy {proxy} closed the connection instead of opening a way to {manager}")
        }
        "proxy response headers too long" => format!("the proxy {proxy} answered with more than can be read"),
        // Why follows in the chain.
        "failed to create underlying connection" => return None,
        other => format!("the proxy {proxy} failed: {other}"),
    };
    Some(failure(TransportStep::Proxy, text))
}

fn not_resolved(dns: &NotResolved, settings: &Settings) -> TransportFailure {
    let NotResolved { name, reason } = dns;
    let hint = if settings.proxy.is_some() {
        "name the proxy by its IP address, or mend name resolution"
    } else {
        "without DNS set license.url to an on-premises manager by its IP address, or license.transport = \"proxy\""
    };
    failure(TransportStep::Dns, format!("the name {name} cannot be resolved: {reason}; {hint}"))
}

fn tls_failure(error: &rustls::Error, settings: &Settings, peers: &Peers) -> TransportFailure {
    let presented = peers.presented();
    let by_proxy = presented.as_ref().is_some_and(|presented| presented.by_proxy);
    let who = if by_proxy { "the proxy" } else { "the license manager" };
    let host = if by_proxy {
        settings.proxy.as_ref().map_or_else(String::new, |proxy| proxy.address.to_string())
    } else {
        settings.manager_text()
    };
    let rustls::Error::InvalidCertificate(reason) = error else {
        return failure(TransportStep::Tls, format!("TLS with {who} {host} failed: {error}"));
    };
    let (issuer, remedy, spki, subject) = presented.map_or_else(
        || (String::new(), "", String::new(), String::new()),
        |presented| (presented.issuer, presented.remedy, presented.spki, presented.subject),
    );
    // The library's list of errors is open: what is not named here is told in its own words.
    if matches!(reason, CertificateError::UnknownIssuer | CertificateError::BadSignature) {
        return failure(
            TransportStep::TlsIssuer,
            format!(
                "{who} {host} presented a certificate issued by {issuer} (public key {spki}), which is not trusted: {remedy}. If \
                 you don't know that issuer, something on the way intercepts TLS"
            ),
        );
    }
    let text = if matches!(reason, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
    {
        format!(
            "{who} presented a certificate for {subject}, not for {host}: the name in the configuration must be one of the \
             certificate's ({error})"
        )
    } else if matches!(reason, CertificateError::Expired | CertificateError::ExpiredContext { .. }) {
        format!(
            "the certificate of {who} {host} has expired by this host's clock: renew it, or correct the clock ({error})"
        )
    } else if matches!(reason, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) {
        format!("the certificate of {who} {host} is not valid yet by this host's clock: correct the clock ({error})")
    } else {
        format!("the certificate of {who} {host} is not accepted: {reason}")
    };
    failure(TransportStep::Tls, text)
}

/// The first hop.
fn way(settings: &Settings) -> String {
    match &settings.proxy {
        Some(proxy) => format!("the proxy {}", proxy.address),
        None => settings.manager_text(),
    }
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}
