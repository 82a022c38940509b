//! Commands, and the rows of section 4.1.

use super::action::{AlarmKind, AlarmLevel};
use super::command::{Command, CommandRefused, Done};
use super::core::Agent;
use super::enforcement;
use super::registration::{begun, done, refused};
use super::requests::Purpose;
use super::state::{Authorization, Client, Registration, Setup};

/// How often a person may ask for a report, in milliseconds.
const REPORT_EVERY_MS: u64 = 60_000;

/// The code of row 26.
const TRANSPORT_LOCKED: &str = "transport_locked";

impl Agent {
    pub(super) fn command(&mut self, command: Command) -> Result<Done, CommandRefused> {
        match command {
            Command::Enable => self.enable(),
            Command::Disable => self.disable(),
            Command::Register { token, force } => self.register(token, force),
            Command::CancelRegistration => self.cancel_registration(),
            Command::Deregister => self.deregister(super::state::Leaving::Deregister),
            Command::RenewAuthorization => self.renew_authorization(),
            Command::RenewId => self.renew_id(),
            Command::ReportNow => self.report_now(),
            Command::Configure(setup) => self.configure(*setup),
            Command::Restore(backup) => self.restore(*backup),
            Command::FactoryReset { keep_licensing } => self.factory_reset(keep_licensing),
        }
    }

    /// Row 3.
    fn enable(&mut self) -> Result<Done, CommandRefused> {
        if self.state.client != Client::Disabled {
            return Ok(done("licensing is on already"));
        }
        self.enable_now();
        Ok(done("licensing is on; evaluation goes on where it was"))
    }

    pub(super) fn enable_now(&mut self) {
        self.state.client = Client::Enabled;
        self.state.registration = Registration::Unregistered;
        self.state.authorization = enforcement::evaluation_state(&self.state, &self.setup.profile, self.clock.now());
        self.note_evaluation_expired();
    }

    /// Rows 4 and 5.
    pub(super) fn disable(&mut self) -> Result<Done, CommandRefused> {
        self.may_disable(&self.setup.profile.name, self.setup.profile.irreversible)?;
        if self.state.client == Client::Disabled {
            return Ok(done("licensing is off already"));
        }
        if self.state.token.is_some() {
            self.cancel_registration()?;
        }
        self.switch_off();
        Ok(done("licensing is off; evaluation time that was used stays used"))
    }

    fn may_disable(&self, profile: &str, irreversible: bool) -> Result<(), CommandRefused> {
        if self.state.client == Client::Disabled {
            return Ok(());
        }
        if irreversible {
            return Err(refused(
                "irreversible",
                format!("licensing cannot be disabled: profile {profile} keeps it on once it was enabled"),
            ));
        }
        if self.state.client == Client::Reservation {
            return Err(refused("reservation", "licenses are reserved here: return the reservation first"));
        }
        if enforcement::is_registered(&self.state) {
            return Err(refused("registered", "this instance is registered: deregister first"));
        }
        Ok(())
    }

    pub(super) fn switch_off(&mut self) {
        self.state.client = Client::Disabled;
        self.state.registration = Registration::Unregistered;
        self.state.authorization = Authorization::None;
        for kind in [AlarmKind::EvalExpired, AlarmKind::RegDown, AlarmKind::AuthDown] {
            self.unstand(kind);
        }
    }

    /// Asked for by a person: at most once a minute.
    fn report_now(&mut self) -> Result<Done, CommandRefused> {
        self.must_be_registered()?;
        let now = self.clock.now();
        if let Some(asked) = self.report_asked
            && now.0.saturating_sub(asked.0) < REPORT_EVERY_MS
        {
            return Err(refused("too_soon", "a report was asked for less than a minute ago: wait for its answer"));
        }
        self.report_asked = Some(now);
        self.report();
        Ok(begun("the usage report is in progress"))
    }

    /// What a new configuration is refused for.
    pub(super) fn check_setup(&self, setup: &Setup) -> Result<(), CommandRefused> {
        if enforcement::transport_locked(&self.state, setup) && setup.transport != self.setup.transport {
            // Row 26.
            let text = format!(
                "license.transport: found {}, and this instance is registered by way of {}; product {} changes the way to \
                 the manager after deregistration only: deregister first",
                setup.transport.name(),
                enforcement::transport_in_force(&self.state, setup).name(),
                setup.profile.name
            );
            return Err(refused(TRANSPORT_LOCKED, text));
        }
        if enforcement::is_registered(&self.state) && setup.usage != self.setup.usage {
            let text = "production or lab is chosen before registration: deregister first";
            return Err(refused("usage_locked", text));
        }
        if setup.enabled == Some(false) {
            let irreversible = setup.profile.irreversible || self.setup.profile.irreversible;
            self.may_disable(&setup.profile.name, irreversible)?;
        }
        Ok(())
    }

    /// A new configuration, as a whole or not at all.
    fn configure(&mut self, setup: Setup) -> Result<Done, CommandRefused> {
        self.check_setup(&setup).inspect_err(|refused| {
            if refused.code == TRANSPORT_LOCKED {
                self.stand(AlarmKind::TransportLocked, refused.text.clone());
            }
        })?;
        if !enforcement::transport_locked(&self.state, &setup) {
            self.unstand(AlarmKind::TransportLocked);
        }
        let wanted = setup.enabled;
        // Nothing can refuse from here on.
        self.setup = setup;
        match wanted {
            Some(true) => drop(self.enable()?),
            Some(false) => drop(self.disable()?),
            None => {}
        }
        if self.state.authorization == Authorization::EvaluationExpired
            && enforcement::evaluation_left_s(&self.state, &self.setup.profile, self.clock.now()) > 0
        {
            // Row 7: what is used up stays used up, whatever a new profile says.
            self.unexpected("evaluation_account");
        }
        self.follow_addresses();
        self.hostname_changed();
        if !self.is_asked() {
            self.request_changed();
        }
        Ok(done("the configuration is in force"))
    }

    /// Row 25. A name that is withheld, or was, is nobody's business.
    pub(super) fn hostname_changed(&mut self) {
        let told = self.state.membership.as_ref().and_then(|membership| membership.hostname.clone());
        let Some(told) = told else { return };
        if self.setup.withhold_hostname || told == self.setup.hostname || !enforcement::is_registered(&self.state) {
            self.unstand(AlarmKind::HostnameChanged);
            return;
        }
        let text = format!("this host is registered as {told} and is now called {}", self.setup.hostname);
        let known = self.state.standing.get(&AlarmKind::HostnameChanged).is_some_and(|known| known.detail == text);
        self.stand(AlarmKind::HostnameChanged, text.clone());
        if known {
            return;
        }
        self.notice("hostname_changed", AlarmLevel::Warning, text);
        if self.setup.renew_on_hostname_change && !self.is_sent(Purpose::Renew) {
            self.send(Purpose::Renew);
        }
    }
}
