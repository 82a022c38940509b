//! Licensing for people: pages made from the agent's state. PURE.
//!
//! Every page begins with the same [`LicenseView`]: what is, in the product's own words; what that does to calls now;
//! what comes next and when; what to do. The types are read again by the operator's commands, which turn them into text.
//!
//! What must stay true: nothing secret is in any page (they are built from named fields, never from a whole state), and
//! no page decides anything.

mod forecast;
mod overview;
mod pages;
#[cfg(test)]
pub(crate) mod samples;
mod sections;

use super::agent::{AgentState, Alarm, Setup};
use super::ports::Port;
use super::profile::Profile;
use super::usage::Usage;
use crate::units::UnixMillis;

#[cfg(test)]
pub(crate) use overview::{effect_in_force, on_calls};

pub use forecast::{Forecast, ForecastStep, Track};
pub use overview::{LicenseView, Refused, Would};
pub use pages::{
    AlarmLine, PlatformLine, PlatformPage, SamplesPage, StatisticsLine, StatisticsPage, StatusPage, SummaryLine,
    SummaryPage, SupportPage, UdiPage, UsagePage,
};
pub use sections::{
    AttemptLine, AuthorizationSection, EvaluationSection, FailureLine, PoolLine, PrivacySection, ProductSection,
    RegistrationSection, TransportSection, UsageLine,
};

/// How many days a forecast covers if nobody says.
pub const FORECAST_DAYS: u32 = 30;

/// The most days of a forecast: ten years.
pub const FORECAST_DAYS_MAX: u32 = 3650;

/// What pages are made from.
#[derive(Debug, Clone, Copy)]
pub struct ViewInput<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The agent's state.
    pub state: &'a AgentState,
    /// Its configuration.
    pub setup: &'a Setup,
    /// What is used.
    pub usage: &'a Usage,
    /// The configured ports.
    pub ports: &'a [Port],
    /// The alarms that stand.
    pub alarms: &'a [Alarm],
    /// The manager's address, without user and password; `None`: none is configured.
    pub server: Option<&'a str>,
    /// The proxy's, likewise.
    pub proxy: Option<&'a str>,
    /// Effective time.
    pub now: UnixMillis,
}

impl ViewInput<'_> {
    pub(super) fn profile(&self) -> &Profile {
        &self.setup.profile
    }

    /// Seconds of evaluation left: what was granted once, or less if the profile gives less now.
    pub(super) fn evaluation_left_s(&self) -> u64 {
        let account = &self.state.evaluation;
        account.limit_s.min(self.profile().eval.limit_s()).saturating_sub(account.used_s)
    }
}

/// A page by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// [`LicenseView`] alone: what `/v1/license` tells without a page's name.
    Overview,
    /// The fields of the summary, under the product's own labels.
    Summary,
    /// Registration, authorization, evaluation, use.
    Status,
    /// The same, and the product.
    All,
    /// Who this instance is.
    Udi,
    /// What is used, asked for and granted, by tag.
    Usage,
    /// Every sample of use that is kept.
    Samples,
    /// Counts of configured capacity.
    Platform,
    /// Messages by kind.
    Statistics,
    /// What happens to calls, and when.
    Forecast,
    /// Everything that support may see.
    TechSupport,
}

impl Page {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Overview,
        Self::Summary,
        Self::Status,
        Self::All,
        Self::Udi,
        Self::Usage,
        Self::Samples,
        Self::Platform,
        Self::Statistics,
        Self::Forecast,
        Self::TechSupport,
    ];

    /// Its name, as in `?page=`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Summary => "summary",
            Self::Status => "status",
            Self::All => "all",
            Self::Udi => "udi",
            Self::Usage => "usage",
            Self::Samples => "samples",
            Self::Platform => "platform",
            Self::Statistics => "statistics",
            Self::Forecast => "forecast",
            Self::TechSupport => "tech-support",
        }
    }

    /// The page of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|page| page.name() == name)
    }

    /// The page as JSON. `days` is how far a forecast looks; out of range it is the nearest accepted number.
    #[must_use]
    pub fn json(self, input: &ViewInput<'_>, days: u32) -> serde_json::Value {
        let days = days.clamp(1, FORECAST_DAYS_MAX);
        let value = match self {
            Self::Overview => serde_json::to_value(LicenseView::of(input)),
            Self::Summary => serde_json::to_value(SummaryPage::of(input)),
            Self::Status => serde_json::to_value(StatusPage::of(input, false)),
            Self::All => serde_json::to_value(StatusPage::of(input, true)),
            Self::Udi => serde_json::to_value(UdiPage::of(input)),
            Self::Usage => serde_json::to_value(UsagePage::of(input)),
            Self::Samples => serde_json::to_value(SamplesPage::of(input)),
            Self::Platform => serde_json::to_value(PlatformPage::of(input)),
            Self::Statistics => serde_json::to_value(StatisticsPage::of(input)),
            Self::Forecast => serde_json::to_value(Forecast::page(input, days)),
            Self::TechSupport => serde_json::to_value(SupportPage::of(input)),
        };
        // Structs of texts, numbers and lists always have a JSON form.
        value.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
