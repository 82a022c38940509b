//! The words that people read: the product's own, exactly.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One state's words. Some products show two fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateWords {
    /// What the client (registration) state is called.
    pub client: String,
    /// What the licensing (authorization) state is called.
    pub licensing: String,
}

/// The words that people read, by state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// Licensing is off.
    pub disabled: StateWords,
    /// Evaluation runs, and nothing is registered.
    pub evaluation: StateWords,
    /// Evaluation is used up.
    pub evaluation_expired: StateWords,
    /// A registration is asked for; its `client` word stands beside the words of evaluation.
    pub pending: StateWords,
    /// The manager refused it.
    pub failed: StateWords,
    /// The id certificate expired.
    pub registration_expired: StateWords,
    /// Registered, and not authorized yet.
    pub waiting: StateWords,
    /// Registered, and no licenses in use.
    pub none: StateWords,
    /// Authorized.
    pub authorized: StateWords,
    /// More is used than was bought.
    pub out_of_compliance: StateWords,
    /// No contact for too long.
    pub authorization_expired: StateWords,
    /// Reserved; left out: as authorized, with the qualifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<StateWords>,
    /// Reserved, and the terms have ended; left out: as authorization expired, with the qualifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation_expired: Option<StateWords>,
    /// What single licenses are called.
    #[serde(default)]
    pub license: LicenseWords,
    /// What stands behind a state, in brackets.
    #[serde(default)]
    pub qualifiers: Qualifiers,
    /// What the fields of the summary are called; what is left out has its neutral name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<SummaryField, String>,
}

impl Words {
    /// Every state's words, with the names of their sections.
    pub(super) fn states(&self) -> impl Iterator<Item = (&'static str, &StateWords)> {
        let always = [
            ("disabled", &self.disabled),
            ("evaluation", &self.evaluation),
            ("evaluation_expired", &self.evaluation_expired),
            ("pending", &self.pending),
            ("failed", &self.failed),
            ("registration_expired", &self.registration_expired),
            ("waiting", &self.waiting),
            ("none", &self.none),
            ("authorized", &self.authorized),
            ("out_of_compliance", &self.out_of_compliance),
            ("authorization_expired", &self.authorization_expired),
        ];
        let perhaps = [("reserved", &self.reserved), ("reservation_expired", &self.reservation_expired)];
        always.into_iter().chain(perhaps.into_iter().filter_map(|(name, words)| Some((name, words.as_ref()?))))
    }

    /// What a field of the summary is called.
    #[must_use]
    pub fn label(&self, field: SummaryField) -> &str {
        self.labels.get(&field).map_or(field.neutral(), String::as_str)
    }
}

/// What single licenses are called in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each is the word for the state of its name")]
pub struct LicenseWords {
    pub evaluation: String,
    pub evaluation_expired: String,
    pub waiting: String,
    pub authorized: String,
    pub out_of_compliance: String,
    pub authorization_expired: String,
    pub invalid: String,
}

impl Default for LicenseWords {
    fn default() -> Self {
        let word = str::to_owned;
        Self {
            evaluation: word("Evaluation"),
            evaluation_expired: word("Evaluation Expired"),
            waiting: word("Waiting"),
            authorized: word("Authorized"),
            out_of_compliance: word("Out of Compliance"),
            authorization_expired: word("Authorization Expired"),
            invalid: word("Invalid"),
        }
    }
}

impl LicenseWords {
    pub(super) fn all(&self) -> [(&'static str, &str); 7] {
        [
            ("evaluation", &self.evaluation),
            ("evaluation_expired", &self.evaluation_expired),
            ("waiting", &self.waiting),
            ("authorized", &self.authorized),
            ("out_of_compliance", &self.out_of_compliance),
            ("authorization_expired", &self.authorization_expired),
            ("invalid", &self.invalid),
        ]
    }
}

/// What stands behind a state in brackets. `{until}` becomes the deadline, `{effect}` what is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Qualifiers {
    /// Licenses are reserved.
    pub reserved: String,
    /// Authorization is expired because a reservation is.
    pub reservation: String,
    /// Nothing is refused until a deadline.
    pub overage: String,
    /// An effect is in force.
    pub enforced: String,
}

impl Default for Qualifiers {
    fn default() -> Self {
        let word = str::to_owned;
        Self {
            reserved: word("reserved"),
            reservation: word("reservation"),
            overage: word("overage until {until}"),
            enforced: word("{effect}"),
        }
    }
}

impl Qualifiers {
    pub(super) fn all(&self) -> [(&'static str, &str); 4] {
        [
            ("reserved", &self.reserved),
            ("reservation", &self.reservation),
            ("overage", &self.overage),
            ("enforced", &self.enforced),
        ]
    }
}

/// A field of the summary, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each names what it shows; `neutral` is the same for people")]
pub enum SummaryField {
    ClientState,
    SerialNumber,
    ProductId,
    Udi,
    ServerAddress,
    ProxyAddress,
    TransportMode,
    LicensingState,
    ProductVersion,
    Account,
    VirtualAccount,
    ExportControl,
    RegistrationExpiry,
    NextAuthorization,
    EvaluationHours,
    CountRequested,
    RegistrationSuccessful,
    AuthorizationSuccessful,
    AgentStatus,
    EvaluationMode,
    LatestFailure,
}

impl SummaryField {
    /// All of them, in their order.
    pub const ALL: [Self; 21] = [
        Self::ClientState,
        Self::SerialNumber,
        Self::ProductId,
        Self::Udi,
        Self::ServerAddress,
        Self::ProxyAddress,
        Self::TransportMode,
        Self::LicensingState,
        Self::ProductVersion,
        Self::Account,
        Self::VirtualAccount,
        Self::ExportControl,
        Self::RegistrationExpiry,
        Self::NextAuthorization,
        Self::EvaluationHours,
        Self::CountRequested,
        Self::RegistrationSuccessful,
        Self::AuthorizationSuccessful,
        Self::AgentStatus,
        Self::EvaluationMode,
        Self::LatestFailure,
    ];

    /// What it is called where the profile says nothing else.
    #[must_use]
    pub const fn neutral(self) -> &'static str {
        match self {
            Self::ClientState => "Smart License Client State",
            Self::SerialNumber => "Product Serial Number",
            Self::ProductId => "Product ID",
            Self::Udi => "License UDI",
            Self::ServerAddress => "License Server Address",
            Self::ProxyAddress => "HTTP Proxy Address",
            Self::TransportMode => "Smart Agent Transport Mode",
            Self::LicensingState => "Licensing State",
            Self::ProductVersion => "Product License Version",
            Self::Account => "Smart Account",
            Self::VirtualAccount => "Virtual Account",
            Self::ExportControl => "Export-Controlled Functionality",
            Self::RegistrationExpiry => "Registration Expiry Date",
            Self::NextAuthorization => "Next Auth Date",
            Self::EvaluationHours => "Evaluation Period (in hrs)",
            Self::CountRequested => "CPS Count Requested",
            Self::RegistrationSuccessful => "Registration Successful",
            Self::AuthorizationSuccessful => "Authorization Successful",
            Self::AgentStatus => "Licensing Agent Status",
            Self::EvaluationMode => "Evaluation Mode",
            Self::LatestFailure => "Latest Failure Reason",
        }
    }
}
