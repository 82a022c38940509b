//! The pages: `status`, `all`, `summary`, `udi`, `usage`, `platform`, `statistics`, `tech-support`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sections::{
    AttemptLine, AuthorizationSection, EvaluationSection, FailureLine, PrivacySection, ProductSection,
    RegistrationSection, TransportSection, UsageLine, attempts, latest_failure, usage_lines,
};
use super::{FORECAST_DAYS, Forecast, LicenseView, ViewInput};
use crate::license::agent::enforcement::transport_in_force;
use crate::license::agent::{Authorization, Client, Registration};
use crate::license::ports::{Counts, Port};
use crate::license::profile::{CountSource, SummaryField};
use crate::license::usage::UsageRow;
use crate::license::when::when;
use crate::protocol::Endpoint;
use crate::units::UnixMillis;

/// `status`, and with the product `all`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusPage {
    /// What is.
    pub overview: LicenseView,
    /// Registration.
    pub registration: RegistrationSection,
    /// Authorization.
    pub authorization: AuthorizationSection,
    /// The evaluation period.
    pub evaluation: EvaluationSection,
    /// What is kept from the manager.
    pub privacy: PrivacySection,
    /// The way to the manager.
    pub transport: TransportSection,
    /// Every license in use.
    pub usage: Vec<UsageLine>,
    /// Who this is; only on `all`.
    pub product: Option<ProductSection>,
}

impl StatusPage {
    /// The page; `all` with the product.
    #[must_use]
    pub fn of(input: &ViewInput<'_>, all: bool) -> Self {
        Self {
            overview: LicenseView::of(input),
            registration: RegistrationSection::of(input),
            authorization: AuthorizationSection::of(input),
            evaluation: EvaluationSection::of(input),
            privacy: PrivacySection::of(input),
            transport: TransportSection::of(input),
            usage: usage_lines(input),
            product: all.then(|| ProductSection::of(input)),
        }
    }
}

/// `summary`: the fields that the product shows, under its own labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryPage {
    /// What is.
    pub overview: LicenseView,
    /// The fields, in order.
    pub fields: Vec<SummaryLine>,
}

/// One field of the summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryLine {
    /// Its name, the same under every profile.
    pub field: SummaryField,
    /// What the product calls it.
    pub label: String,
    /// Its value, for people.
    pub value: String,
}

impl SummaryPage {
    /// The page.
    #[must_use]
    pub fn of(input: &ViewInput<'_>) -> Self {
        let overview = LicenseView::of(input);
        let fields = SummaryField::ALL.map(|field| SummaryLine {
            field,
            label: input.profile().words.label(field).to_owned(),
            value: summary_value(input, &overview, field),
        });
        Self { overview, fields: fields.into() }
    }
}

const NONE: &str = "-";

fn yes(flag: bool) -> String {
    if flag { "Yes" } else { "No" }.to_owned()
}

fn or_none(text: Option<&str>) -> String {
    text.unwrap_or(NONE).to_owned()
}

fn time(at: Option<UnixMillis>) -> String {
    at.map_or_else(|| NONE.to_owned(), when)
}

fn summary_value(input: &ViewInput<'_>, overview: &LicenseView, field: SummaryField) -> String {
    let state = input.state;
    let member = state.membership.as_ref();
    let registered = state.registration == Registration::Registered;
    let bracketed = |word: &str| match &overview.qualifier {
        Some(qualifier) => format!("{word} ({qualifier})"),
        None => word.to_owned(),
    };
    match field {
        SummaryField::ClientState => overview.words.client.clone(),
        SummaryField::SerialNumber => state.udi.serial().to_owned(),
        SummaryField::ProductId => state.udi.pid().to_owned(),
        SummaryField::Udi => state.udi.to_string(),
        SummaryField::ServerAddress => or_none(input.server),
        SummaryField::ProxyAddress => or_none(input.proxy),
        SummaryField::TransportMode => {
            format!("{} (HTTPS)", transport_in_force(input.state, input.setup).name())
        }
        SummaryField::LicensingState => bracketed(&overview.words.licensing),
        SummaryField::ProductVersion => major(&input.setup.version).to_owned(),
        SummaryField::Account => or_none(member.map(|member| member.account.as_str())),
        SummaryField::VirtualAccount => or_none(member.map(|member| member.virtual_account.as_str())),
        SummaryField::ExportControl => {
            or_none(member.map(|member| if member.export_allowed { "Allowed" } else { "Not Allowed" }))
        }
        SummaryField::RegistrationExpiry => time(state.deadlines.id_expiry.filter(|_| registered)),
        SummaryField::NextAuthorization => time(state.deadlines.authorization_due.filter(|_| registered)),
        SummaryField::EvaluationHours => overview.hours_left.to_string(),
        SummaryField::CountRequested => requested(input),
        SummaryField::RegistrationSuccessful => yes(registered),
        SummaryField::AuthorizationSuccessful => {
            yes(matches!(state.authorization, Authorization::Authorized | Authorization::Reserved))
        }
        SummaryField::AgentStatus => if state.client == Client::Disabled { "Disabled" } else { "Running" }.to_owned(),
        SummaryField::EvaluationMode => yes(state.authorization == Authorization::Evaluation),
        SummaryField::LatestFailure => state.latest_failure.as_ref().map_or_else(
            || NONE.to_owned(),
            |failure| format!("{}: {} ({})", failure.code, failure.text, when(failure.at)),
        ),
    }
}

/// The license version is the major software version.
fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

/// What is requested: the rate alone where the product licenses nothing else, else each type by name.
fn requested(input: &ViewInput<'_>) -> String {
    let rate = input.profile().rate_type().map(|rate| rate.name.as_str());
    let counts: Vec<String> = input
        .setup
        .requested
        .iter()
        .filter_map(|of| {
            let units = of.units?;
            Some(if rate == Some(of.type_name.as_str()) {
                format!("{units} (one license for every {})", of.per_license)
            } else {
                format!("{units} {}", of.type_name)
            })
        })
        .collect();
    if counts.is_empty() { "what is used".to_owned() } else { counts.join(", ") }
}

/// `udi`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdiPage {
    /// What is.
    pub overview: LicenseView,
    /// The unique device identifier.
    pub udi: String,
    /// The product id in it.
    pub pid: String,
    /// The serial number in it.
    pub serial: String,
}

impl UdiPage {
    /// The page.
    #[must_use]
    pub fn of(input: &ViewInput<'_>) -> Self {
        let udi = &input.state.udi;
        Self {
            overview: LicenseView::of(input),
            udi: udi.to_string(),
            pid: udi.pid().to_owned(),
            serial: udi.serial().to_owned(),
        }
    }
}

/// `usage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsagePage {
    /// What is.
    pub overview: LicenseView,
    /// Every license in use.
    pub usage: Vec<UsageLine>,
    /// When the last report was answered.
    pub reported_until: Option<UnixMillis>,
    /// When the next report goes out.
    pub next_report: Option<UnixMillis>,
}

impl UsagePage {
    /// The page.
    #[must_use]
    pub fn of(input: &ViewInput<'_>) -> Self {
        Self {
            overview: LicenseView::of(input),
            usage: usage_lines(input),
            reported_until: input.state.reported_until,
            next_report: input.state.deadlines.report_due,
        }
    }
}

/// `samples`: every sample of use that is kept, for an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplesPage {
    /// What is.
    pub overview: LicenseView,
    /// By tag, the oldest first.
    pub rows: Vec<UsageRow>,
}

impl SamplesPage {
    /// The page.
    #[must_use]
    pub fn of(input: &ViewInput<'_>) -> Self {
        Self { overview: LicenseView::of(input), rows: input.usage.rows().collect() }
    }
}

/// `platform`: licenses counted from configured capacity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformPage {
    /// What is.
    pub overview: LicenseView,
    /// Registration, in the product's word.
    pub registration: String,
    /// `flexible`: counted from capacity; `generic`: from what is admitted or requested.
    pub model: String,
    /// Counts by type.
    pub counts: Vec<PlatformLine>,
    /// The day of the current counts began then.
    pub counted_at: Option<UnixMillis>,
    /// The next counts take effect then.
    pub next_at: Option<UnixMillis>,
    /// The configured ports.
    pub ports: Vec<Port>,
}

/// One type's count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformLine {
    /// The type's name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Its entitlement tag.
    pub tag: String,
    /// The count of this day; without one yet, what would be counted now.
    pub current: u32,
    /// The next day's, as things are configured now.
    pub next: u32,
}

impl PlatformPage {
    /// The page.
    #[must_use]
    pub fn of(input: &ViewInput<'_>) -> Self {
        let overview = LicenseView::of(input);
        let next = Counts::of(input.ports);
        let current = input.usage.capacity.map_or(next, |daily| daily.counts);
        let counted = input.profile().types.iter().filter(|of| of.counts != CountSource::Admission);
        let counts: Vec<PlatformLine> = counted
            .filter_map(|of| {
                Some(PlatformLine {
                    name: of.name.clone(),
                    description: of.description.clone(),
                    tag: input.profile().tag(&of.name, input.setup.usage),
                    current: current.from_source(of.counts)?,
                    next: next.from_source(of.counts)?,
                })
            })
            .collect();
        Self {
            registration: overview.words.client.clone(),
            overview,
            model: if counts.is_empty() { "generic" } else { "flexible" }.to_owned(),
            counted_at: input.usage.capacity.map(|daily| daily.since()),
            next_at: input.usage.capacity.map(|daily| daily.next_at()),
            ports: input.ports.to_vec(),
            counts,
        }
    }
}

/// `statistics`: messages by kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatisticsPage {
    /// What is.
    pub overview: LicenseView,
    /// Each kind.
    pub messages: Vec<StatisticsLine>,
    /// Events that no rule names; they changed nothing.
    pub unexpected: BTreeMap<String, u64>,
}

/// Messages of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatisticsLine {
    /// The kind.
    pub subtype: String,
    /// Sent, and the answer was accepted.
    pub success: u64,
    /// Not sent, or answered with an error.
    pub failed: u64,
    /// Waiting.
    pub in_queue: u64,
    /// Not sent because of the configuration.
    pub dropped: u64,
    /// When one was sent last, UTC.
    pub last_sent: Option<UnixMillis>,
}

const fn subtype(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Registration => "REGISTRATION",
        Endpoint::Entitlement => "ENTITLEMENT",
        Endpoint::Renew => "RENEW",
        Endpoint::Report => "REPORT",
        Endpoint::Deregistration => "DEREGISTRATION",
        Endpoint::Ack => "ACKNOWLEDGEMENT",
    }
}

impl StatisticsPage {
    /// The page.
    #[must_use]
    pub fn of(input: &ViewInput<'_>) -> Self {
        // The guides' order, ours behind.
        let order = [
            Endpoint::Entitlement,
            Endpoint::Registration,
            Endpoint::Ack,
            Endpoint::Renew,
            Endpoint::Deregistration,
            Endpoint::Report,
        ];
        let messages = order.map(|endpoint| {
            let of = input.state.statistics.get(&endpoint).copied().unwrap_or_default();
            StatisticsLine {
                subtype: subtype(endpoint).to_owned(),
                success: of.success,
                failed: of.failed,
                in_queue: of.in_queue,
                dropped: of.dropped,
                last_sent: of.last_sent,
            }
        });
        let unexpected = input.state.unexpected.clone();
        Self { overview: LicenseView::of(input), messages: messages.into(), unexpected }
    }
}

/// `tech-support`: what support may see, field by field. No token, key, certificate or fingerprint is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupportPage {
    /// As on `all`.
    pub all: StatusPage,
    /// As on `statistics`.
    pub statistics: StatisticsPage,
    /// As on `forecast`.
    pub forecast: Forecast,
    /// As on `platform`.
    pub platform: PlatformPage,
    /// The alarms that stand.
    pub alarms: Vec<AlarmLine>,
    /// The last tries to reach the manager.
    pub attempts: Vec<AttemptLine>,
    /// The newest failure of any kind.
    pub latest_failure: Option<FailureLine>,
    /// Registration, in neutral terms.
    pub registration: String,
    /// Number of the grant in force, and the highest ever seen.
    pub grant_seq: [u64; 2],
    /// Number of the newest message.
    pub message_seq: u64,
    /// The largest time ever confirmed.
    pub time_high_water: UnixMillis,
    /// Observations of use that were dropped.
    pub usage_dropped: u64,
}

/// An alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmLine {
    /// Its name.
    pub id: String,
    /// How bad.
    pub level: String,
    /// Since when.
    pub since: UnixMillis,
    /// What is.
    pub what: String,
    /// What it does to calls now.
    pub effect: String,
    /// What happens next.
    pub next: String,
    /// What to do.
    pub remedy: String,
}

impl SupportPage {
    /// The page.
    #[must_use]
    pub fn of(input: &ViewInput<'_>) -> Self {
        let state = input.state;
        let word = |value: serde_json::Result<serde_json::Value>| {
            value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
        };
        let alarms = input.alarms.iter().map(|alarm| AlarmLine {
            id: word(serde_json::to_value(alarm.kind)),
            level: word(serde_json::to_value(alarm.level)),
            since: alarm.since,
            what: alarm.what.clone(),
            effect: alarm.effect.clone(),
            next: alarm.next.clone(),
            remedy: alarm.remedy.clone(),
        });
        Self {
            all: StatusPage::of(input, true),
            statistics: StatisticsPage::of(input),
            forecast: Forecast::of(input, FORECAST_DAYS),
            platform: PlatformPage::of(input),
            alarms: alarms.collect(),
            attempts: attempts(input),
            latest_failure: latest_failure(input),
            registration: state.registration.name().to_owned(),
            grant_seq: [state.grant.as_ref().map_or(0, |grant| grant.seq), state.last_grant_seq],
            message_seq: state.message_seq,
            time_high_water: state.high_water,
            usage_dropped: input.usage.dropped(),
        }
    }
}
