//! The way to the license manager: HTTPS, directly or through a proxy, bounded in bytes and time.
//!
//! A request is a signed envelope, an answer is one or it is nothing; who signed is the agent's business. Here end names,
//! routes, certificates and HTTP. What must stay true: HTTPS only, no redirect is followed, no body above
//! [`ENVELOPE_BYTES_MAX`] is held, no exchange outlasts its time, no secret stands in a text or a `Debug`, and each failure
//! names the step that failed.
//!
//! Each exchange makes its own connection: there are a few a day, and each reads the trust store anew.

mod address;
mod failure;
mod probe;
mod trust;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Method, Response, redirect, retry};
use url::Url;

pub use address::{AddressError, ManagerUrl, ProxyAddress};
pub use probe::{PROBE_TIME_MAX, ProbeReport, ProbeStep, StepOutcome};
pub(in crate::shell) use trust::server_trust;
pub use trust::{Trust, parse_pin};

use self::failure::{NotResolved, explain, failure};
use crate::license::agent::{ClientIdentity, Exchange, Outgoing, TransportFailure, TransportStep};
use crate::protocol::ENVELOPE_BYTES_MAX;
use crate::shell::config::Secret;
use crate::units::UnixMillis;

const BODY_TYPE: &str = "application/json";
const AGENT: &str = concat!("callgate/", env!("CARGO_PKG_VERSION"));

/// How many headers of an answer are read.
const HEADERS_MAX: usize = 64;

/// How the manager is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where it is; `None`: the configuration names none.
    pub url: Option<ManagerUrl>,
    /// Whom to believe.
    pub trust: Trust,
    /// Through which proxy.
    pub proxy: Option<Proxy>,
    /// How long an exchange may take, if the agent doesn't say.
    pub timeout: Duration,
}

/// A proxy, and what it asks for.
#[derive(Clone, PartialEq)]
pub struct Proxy {
    /// Where it is.
    pub address: ProxyAddress,
    /// User and password, if it asks for them.
    pub user: Option<(String, Secret)>,
    /// The certificate authorities of an HTTPS proxy, beside the host's own; PEM.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Proxy({}, {})", self.address, if self.user.is_some() { "with a password" } else { "open" })
    }
}

impl Settings {
    fn manager_text(&self) -> String {
        self.url.as_ref().map_or_else(|| "no manager".to_owned(), ToString::to_string)
    }

    /// Who answers, as far as can be told.
    fn peer_text(&self) -> String {
        match &self.proxy {
            Some(proxy) => format!("{} (through the proxy {})", self.manager_text(), proxy.address),
            None => self.manager_text(),
        }
    }

    /// The host and port that are connected to.
    fn first_hop(&self) -> Option<(String, u16)> {
        match &self.proxy {
            Some(proxy) => Some((proxy.address.host(), proxy.address.port())),
            None => self.url.as_ref().map(|url| (url.host(), url.port())),
        }
    }
}

/// Carries requests to the manager.
#[derive(Debug, Clone)]
pub struct Transport {
    settings: Settings,
}

/// An answer, with what a probe looks at.
#[derive(Debug)]
struct Answer {
    status: u16,
    retry_after_s: Option<u64>,
    date: Option<UnixMillis>,
    body: Vec<u8>,
}

impl Transport {
    /// A transport with these settings.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Its settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Sends a request and reads its answer, within the time that the request gives. Never fails otherwise than by saying
    /// which step did.
    pub async fn exchange(&self, outgoing: &Outgoing) -> Exchange {
        let Some(url) = &self.settings.url else {
            return Exchange::Failed(failure(
                TransportStep::Configuration,
                "license.url is not set: no manager is asked",
            ));
        };
        let within = Duration::from_secs(outgoing.within_s.max(1)).min(self.settings.timeout);
        let answer = self
            .request(
                Method::POST,
                url.endpoint(outgoing.endpoint),
                outgoing.body.clone(),
                outgoing.client.as_ref(),
                within,
            )
            .await;
        match answer {
            Ok(Answer { status, retry_after_s, body, .. }) => Exchange::Answered { status, retry_after_s, body },
            Err(failure) => Exchange::Failed(failure),
        }
    }

    async fn request(
        &self,
        method: Method,
        url: Url,
        body: Vec<u8>,
        identity: Option<&ClientIdentity>,
        within: Duration,
    ) -> Result<Answer, TransportFailure> {
        let exchange = self.request_unbounded(method, url, body, identity);
        match tokio::time::timeout(within, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(failure(
                TransportStep::Timeout,
                format!("no whole answer within {} s from {}", within.as_secs(), self.settings.peer_text()),
            )),
        }
    }

    async fn request_unbounded(
        &self,
        method: Method,
        url: Url,
        body: Vec<u8>,
        identity: Option<&ClientIdentity>,
    ) -> Result<Answer, TransportFailure> {
        let settings = self.settings.clone();
        let identity = identity.cloned();
        // Stores of certificates are files: they are read off the runtime's threads.
        let prepared = tokio::task::spawn_blocking(move || prepare(&settings, identity.as_ref())).await;
        let (client, peers) = prepared
            .map_err(|_| failure(TransportStep::Configuration, "the sidecar failed to prepare the exchange"))?
            .map_err(|text| failure(TransportStep::Configuration, text))?;
        let told = |error: reqwest::Error| explain(&error, &self.settings, &peers);
        let request = client.request(method, url).header(ACCEPT, BODY_TYPE).header(CONTENT_TYPE, BODY_TYPE);
        let response = request.body(body).send().await.map_err(told)?;
        self.read(response, told).await
    }

    async fn read(
        &self,
        mut response: Response,
        told: impl Fn(reqwest::Error) -> TransportFailure,
    ) -> Result<Answer, TransportFailure> {
        let status = response.status();
        let peer = self.settings.peer_text();
        if status.is_redirection() {
            return Err(failure(
                TransportStep::Http,
                format!(
                    "{peer} answered with a redirect ({status}), which is never followed: correct license.url, or ask who runs \
                     this network whether it wants a login"
                ),
            ));
        }
        let too_large =
            || failure(TransportStep::Http, format!("{peer} answered with more than {ENVELOPE_BYTES_MAX} bytes"));
        let length = response.content_length().and_then(|length| usize::try_from(length).ok());
        if length.is_some_and(|length| length > ENVELOPE_BYTES_MAX) {
            return Err(too_large());
        }
        let mut body = Vec::with_capacity(length.unwrap_or(0));
        while let Some(chunk) = response.chunk().await.map_err(&told)? {
            if body.len().saturating_add(chunk.len()) > ENVELOPE_BYTES_MAX {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() && is_html(response.headers(), &body) {
            return Err(failure(
                TransportStep::Http,
                format!(
                    "{peer} answered with a web page instead of a message: a captive portal or an intercepting proxy is on the \
                     way, or license.url names a web site"
                ),
            ));
        }
        let headers = response.headers();
        Ok(Answer { status: status.as_u16(), retry_after_s: retry_after(headers), date: date(headers), body })
    }
}

fn prepare(
    settings: &Settings,
    identity: Option<&ClientIdentity>,
) -> Result<(Client, std::sync::Arc<trust::Peers>), String> {
    let proxy_ca =
        settings.proxy.as_ref().filter(|proxy| proxy.address.is_https()).map(|proxy| proxy.ca_file.as_deref());
    let (tls, peers) = trust::client_config(&settings.trust, proxy_ca, identity)?;
    let mut client = Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .http1_only()
        .http1_max_headers(HEADERS_MAX)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .pool_max_idle_per_host(0)
        .user_agent(AGENT)
        .dns_resolver(SystemResolver);
    // The environment's proxies are not ours: what is not configured is not used.
    client = match &settings.proxy {
        None => client.no_proxy(),
        Some(proxy) => {
            let mut through = reqwest::Proxy::all(proxy.address.url()).map_err(|error| error.to_string())?;
            if let Some((user, password)) = &proxy.user {
                through = through.basic_auth(user, &String::from_utf8_lossy(password.reveal()));
            }
            client.proxy(through)
        }
    };
    Ok((client.build().map_err(|error| error.to_string())?, peers))
}

/// The system's resolver, with an error that says which name.
#[derive(Debug)]
struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let addresses = lookup(&name, 0).await?;
            Ok::<Addrs, Box<dyn std::error::Error + Send + Sync>>(Box::new(addresses.into_iter()))
        })
    }
}

async fn lookup(name: &str, port: u16) -> Result<Vec<SocketAddr>, NotResolved> {
    let told = |reason: String| NotResolved { name: name.to_owned(), reason };
    let found = tokio::net::lookup_host((name, port)).await.map_err(|error| told(error.to_string()))?;
    let addresses: Vec<SocketAddr> = found.take(16).collect();
    if addresses.is_empty() { Err(told("it has no address".to_owned())) } else { Ok(addresses) }
}

fn is_html(headers: &HeaderMap, body: &[u8]) -> bool {
    let named = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    named.to_ascii_lowercase().starts_with("text/html") || body.trim_ascii_start().starts_with(b"<")
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let until = http_date(text)?;
    // Against the server's own clock, which is what it reckons by.
    Some(until.0.saturating_sub(date(headers)?.0) / 1000)
}

fn date(headers: &HeaderMap) -> Option<UnixMillis> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

fn http_date(text: &str) -> Option<UnixMillis> {
    let zoned = jiff::fmt::rfc2822::DateTimeParser::new().parse_zoned(text).ok()?;
    u64::try_from(zoned.timestamp().as_millisecond()).ok().map(UnixMillis)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
