//! Webhooks: one HTTPS POST per notice (plain HTTP to this host itself), with a bearer token and a signature where they are
//! configured.
//!
//! `X-Callgate-Signature: sha256=HEX` is HMAC-SHA256 over the value of `X-Callgate-Timestamp` (seconds since 1970), a dot
//! and the body: a receiver that refuses old times can't be told twice by somebody else. `Idempotency-Key` is the same for
//! each try of one notice. Redirects are not followed, and of an answer only its status is read.

use std::fmt::Write;

use hmac::{Hmac, Mac};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode, redirect, retry};
use sha2::{Digest, Sha256};

use super::carrier::{Failure, chain, trust};
use crate::notice::{Format, Notice};
use crate::shell::clock::Clock;
use crate::shell::config::{Destination, DestinationSecrets, Secret, WebhookUrl};
use crate::shell::license::transport::{Trust, server_trust};
use crate::units::UnixMillis;

const AGENT: &str = concat!("callgate/", env!("CARGO_PKG_VERSION"));

#[derive(Debug)]
pub(super) struct Webhook {
    url: Option<WebhookUrl>,
    trust: Trust,
    token: Option<Secret>,
    signing_key: Option<Secret>,
}

impl Webhook {
    pub(super) fn new(destination: &Destination, secrets: &DestinationSecrets) -> Self {
        Self {
            url: destination.url.clone(),
            trust: trust(destination),
            token: secrets.token.clone(),
            signing_key: secrets.signing_key.clone(),
        }
    }

    pub(super) async fn send(&self, notice: &Notice, format: Format) -> Result<String, Failure> {
        let Some(url) = &self.url else { return Err(Failure::Final("no url is configured".to_owned())) };
        let body = notice.render(format);
        let client = self.client(url).await?;
        let mut request = client
            .post(url.url().clone())
            .header(CONTENT_TYPE, format.media_type())
            .header("idempotency-key", hex(&Sha256::digest(body.as_bytes())));
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_bytes(&[b"Bearer ", token.reveal()].concat())
                .map_err(|_| Failure::Final("the bearer token holds bytes that no header can".to_owned()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(key) = &self.signing_key {
            let (at, signature) = sign(key.reveal(), Clock.wall(), &body);
            request = request.header("x-callgate-timestamp", at).header("x-callgate-signature", signature);
        }
        let answer = request.body(body).send().await.map_err(|error| {
            // Its text would repeat the address, which can hold a secret in its path.
            Failure::Passing(chain(&error.without_url()))
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(format!("the server answered {status}"));
        }
        let text = format!("the server answered {status}");
        let later = status.is_server_error()
            || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::TOO_EARLY);
        Err(if later { Failure::Passing(text) } else { Failure::Final(text) })
    }

    /// Made anew each time: a renewed file of authorities is taken without a restart, and there are few notices.
    async fn client(&self, url: &WebhookUrl) -> Result<Client, Failure> {
        let (trust, https) = (self.trust.clone(), url.is_https());
        // Stores of certificates are files: they are read off the runtime's threads.
        let built = tokio::task::spawn_blocking(move || {
            let tls = server_trust(&trust).or_else(|error| {
                // Where nothing is encrypted, no store is needed.
                if https { Err(error.replace("license.", "")) } else { server_trust(&Trust::PinSpki(Vec::new())) }
            })?;
            let client = Client::builder()
                .tls_backend_preconfigured(tls)
                .https_only(https)
                .http1_only()
                .redirect(redirect::Policy::none())
                .retry(retry::never())
                .referer(false)
                .pool_max_idle_per_host(0)
                .user_agent(AGENT)
                .no_proxy();
            client.build().map_err(|error| error.to_string())
        });
        built.await.map_err(|error| Failure::Passing(error.to_string()))?.map_err(Failure::Passing)
    }
}

/// Time and signature, as the two headers have them.
fn sign(key: &[u8], now: UnixMillis, body: &str) -> (String, String) {
    let at = (now.0 / 1_000).to_string();
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return (at, String::new()) };
    mac.update(at.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    (at, format!("sha256={}", hex(&mac.finalize().into_bytes())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_covers_time_and_body() {
        let (at, signature) = sign(b"key", UnixMillis(1_800_000_000_999), "{}");
        // python3 -c "import hmac; print(hmac.new(b'key', b'1800000000.{}', 'sha256').hexdigest())"
        assert_eq!(at, "1800000000");
        assert_eq!(signature, "sha256=7321475872b03ff21bdc2dfd86ea2d99ec29c479fbe4a77aa6acf4509505493f");
        assert_ne!(sign(b"key", UnixMillis(1_800_000_000_999), "{ }").1, signature);
        assert_ne!(sign(b"key", UnixMillis(1_800_000_001_000), "{}").1, signature);
    }
}
