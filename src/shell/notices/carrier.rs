//! One way to one destination.

use std::time::Duration;

use super::mail::Mail;
use super::syslog::Syslog;
use super::webhook::Webhook;
use crate::notice::{Format, Level, Notice};
use crate::shell::config::{Destination, DestinationKind, DestinationSetup, TrustChoice};
use crate::shell::license::transport::Trust;

/// Why a notice was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// It may be taken later.
    #[error("{0}")]
    Passing(String),
    /// It never will be.
    #[error("{0}; it is not tried again")]
    Final(String),
}

#[derive(Debug)]
pub(super) struct Carrier {
    name: String,
    format: Format,
    timeout: Duration,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Log,
    Syslog(Syslog),
    Webhook(Box<Webhook>),
    Mail(Box<Mail>),
}

impl Carrier {
    pub(super) fn new(setup: &DestinationSetup) -> Self {
        let DestinationSetup { destination, secrets } = setup;
        let way = match destination.kind() {
            DestinationKind::Log => Way::Log,
            DestinationKind::Syslog => Way::Syslog(Syslog::new(destination)),
            DestinationKind::Webhook => Way::Webhook(Box::new(Webhook::new(destination, secrets))),
            DestinationKind::Mail => Way::Mail(Box::new(Mail::new(destination, secrets))),
        };
        Self { name: destination.name.clone(), format: destination.format(), timeout: destination.timeout(), way }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// One try, within its time and `within`. Says where it went.
    pub(super) async fn carry(&self, notice: &Notice, within: Duration) -> Result<String, Failure> {
        let timeout = self.timeout.min(within);
        match tokio::time::timeout(timeout, self.try_once(notice)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Passing(format!("no whole answer within {} s", timeout.as_secs()))),
        }
    }

    async fn try_once(&self, notice: &Notice) -> Result<String, Failure> {
        match &self.way {
            Way::Log => {
                let (destination, id, text) = (&self.name, &notice.id, notice.render(self.format));
                match notice.level {
                    Level::Info => tracing::info!(destination, id, "{text}"),
                    Level::Warning => tracing::warn!(destination, id, "{text}"),
                    Level::Major | Level::Critical => tracing::error!(destination, id, "{text}"),
                }
                Ok("written to the log".to_owned())
            }
            Way::Syslog(way) => way.send(notice, self.format).await,
            Way::Webhook(way) => way.send(notice, self.format).await,
            Way::Mail(way) => way.send(notice, self.format).await,
        }
    }
}

/// Whose certificates a destination believes.
pub(super) fn trust(destination: &Destination) -> Trust {
    match (destination.trust, destination.ca_file.clone()) {
        (Some(TrustChoice::File), Some(file)) => Trust::File(file),
        (Some(TrustChoice::SystemAndFile), Some(file)) => Trust::SystemAndFile(file),
        // Keys are not pinned here; without a file the check refused the choice.
        (Some(TrustChoice::File | TrustChoice::SystemAndFile), None)
        | (Some(TrustChoice::System | TrustChoice::PinSpki) | None, _) => Trust::System,
    }
}

/// An error with its causes, as one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(at) = cause {
        let more = at.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = at.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}
