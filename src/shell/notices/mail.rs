//! Mail, by SMTP: with STARTTLS or TLS, which is insisted on; without only to this host itself.

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::carrier::{Failure, chain, trust};
use crate::notice::{Format, Notice};
use crate::shell::config::{Destination, DestinationSecrets, HostPort, MailSecurity, Secret};
use crate::shell::license::transport::Trust;

/// The largest file of certificates.
const CA_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Mail {
    server: Option<HostPort>,
    security: MailSecurity,
    trust: Trust,
    user: Option<(String, Secret)>,
    from: String,
    to: Vec<String>,
    timeout: Duration,
}

impl Mail {
    pub(super) fn new(destination: &Destination, secrets: &DestinationSecrets) -> Self {
        Self {
            server: destination.server.clone(),
            security: destination.security.unwrap_or(MailSecurity::StartTls),
            trust: trust(destination),
            user: destination.user.clone().zip(secrets.password.clone()),
            from: destination.from.clone().unwrap_or_default(),
            to: destination.to.clone(),
            timeout: destination.timeout(),
        }
    }

    pub(super) async fn send(&self, notice: &Notice, format: Format) -> Result<String, Failure> {
        let Some(server) = &self.server else { return Err(Failure::Final("no server is configured".to_owned())) };
        let message = self.message(notice, format)?;
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.host())
            .port(server.port())
            .timeout(Some(self.timeout))
            .tls(self.tls(server.host()).await?);
        let builder = match &self.user {
            None => builder,
            Some((user, password)) => {
                let password = String::from_utf8_lossy(password.reveal()).into_owned();
                builder.credentials(Credentials::new(user.clone(), password))
            }
        };
        let answer = builder.build().send(message).await.map_err(|error| {
            let text = format!("{server}: {}", chain(&error));
            if error.is_permanent() { Failure::Final(text) } else { Failure::Passing(text) }
        })?;
        let said: String =
            answer.first_line().unwrap_or_default().chars().filter(|c| !c.is_control()).take(80).collect();
        Ok(format!("{server} took it for {}: {} {said}", self.to.join(", "), answer.code()))
    }

    fn message(&self, notice: &Notice, format: Format) -> Result<Message, Failure> {
        let wrong = |what: String| Failure::Final(format!("the mail cannot be made: {what}"));
        let mailbox = |text: &String| {
            text.parse::<Address>().map(|address| Mailbox::new(None, address)).map_err(|error| wrong(error.to_string()))
        };
        let kind = ContentType::parse(format.media_type()).map_err(|error| wrong(error.to_string()))?;
        let mut message = Message::builder()
            .from(mailbox(&self.from)?)
            .subject(notice.render(Format::Short))
            .date(UNIX_EPOCH + Duration::from_millis(notice.at.0))
            .header(kind);
        for to in &self.to {
            message = message.to(mailbox(to)?);
        }
        message.body(notice.render(format)).map_err(|error| wrong(error.to_string()))
    }

    async fn tls(&self, host: String) -> Result<Tls, Failure> {
        if self.security == MailSecurity::None {
            return Ok(Tls::None);
        }
        let trust = self.trust.clone();
        // Stores of certificates are files: they are read off the runtime's threads.
        let parameters = tokio::task::spawn_blocking(move || {
            let (store, file) = match trust {
                Trust::File(file) => (CertificateStore::None, Some(file)),
                Trust::SystemAndFile(file) => (CertificateStore::Default, Some(file)),
                Trust::System | Trust::PinSpki(_) => (CertificateStore::Default, None),
            };
            let mut builder = TlsParameters::builder(host).certificate_store(store);
            if let Some(file) = file {
                let unreadable = |why: String| format!("ca_file: {}: {why}", file.display());
                let pem = crate::shell::store::read_bounded(&file, CA_BYTES_MAX)
                    .map_err(|error| unreadable(error.to_string()))?
                    .ok_or_else(|| unreadable("no such file".to_owned()))?;
                let certificate = Certificate::from_pem(&pem).map_err(|error| unreadable(error.to_string()))?;
                builder = builder.add_root_certificate(certificate);
            }
            builder.build().map_err(|error| chain(&error))
        });
        let parameters =
            parameters.await.map_err(|error| Failure::Passing(error.to_string()))?.map_err(Failure::Passing)?;
        Ok(if self.security == MailSecurity::Tls { Tls::Wrapper(parameters) } else { Tls::Required(parameters) })
    }
}
