//! What a person reads who starts the sidecar by hand: what runs where, what it limits, what to do next.

use std::fmt::Write as _;

use crate::admission::{Mode, Policy};
use crate::license::view::LicenseView;

/// What the start message tells.
#[derive(Debug)]
pub(super) struct Banner<'a> {
    pub(super) node: &'a str,
    pub(super) pid: u32,
    pub(super) data_dir: String,
    /// RESP addresses, bound.
    pub(super) resp: Vec<String>,
    /// Addresses of datagrams, bound.
    pub(super) datagram: Vec<String>,
    /// HTTP address, bound.
    pub(super) http: Option<String>,
    pub(super) policy: &'a Policy,
    pub(super) license: &'a LicenseView,
    /// Calls that the journal brought back.
    pub(super) recovered: u32,
    /// Calls survive a restart.
    pub(super) journal: bool,
}

impl Banner<'_> {
    /// The message.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, to: &mut String) -> std::fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        writeln!(to, "callgate {version} is ready: node {}, pid {}", self.node, self.pid)?;
        writeln!(to)?;
        let resp = if self.resp.is_empty() { "off".to_owned() } else { self.resp.join(", ") };
        writeln!(to, "  RESP       {resp}")?;
        let datagram = if self.datagram.is_empty() { "off".to_owned() } else { self.datagram.join(", ") };
        writeln!(to, "  Datagrams  {datagram}")?;
        let http = self.http.as_ref().map_or("off".to_owned(), |at| format!("http://{at}"));
        writeln!(to, "  HTTP       {http}")?;
        writeln!(to, "  State      {}", self.data_dir)?;
        writeln!(to, "  Limits     {}", self.limits())?;
        writeln!(to, "  Licensing  {}", self.licensing())?;
        writeln!(to, "  Calls      {}", self.calls())?;
        writeln!(to)?;
        if let Some(port) = self.resp.iter().find_map(|at| at.rsplit_once(':')?.1.parse::<u16>().ok()) {
            writeln!(to, "  Try it     redis-cli -p {port} ADMIT my-first-call")?;
            if let Some(http) = &self.http {
                writeln!(to, "             curl -X POST 'http://{http}/v1/admit?id=my-second-call'")?;
            }
            writeln!(to, "             callgate calls list")?;
        }
        writeln!(to, "  A proxy    sends ADMIT for each new call, CONFIRM when it is answered, RELEASE when it ends")?;
        writeln!(to, "  Stop it    Ctrl-C; live calls are kept for the next start")
    }

    fn limits(&self) -> String {
        let rate = match self.policy.rate {
            Some(rate) if self.policy.rate_enforced => rate.to_string(),
            Some(rate) => format!("{rate} (observed only)"),
            None => "calls per second not limited".to_owned(),
        };
        let sessions: Vec<String> =
            self.policy.license_types.iter().filter_map(|of| Some(sessions_of(&of.name, of.count?))).collect();
        let sessions = if sessions.is_empty() { "sessions not limited".to_owned() } else { sessions.join(", ") };
        let mut limits = format!("{rate}, {sessions}");
        if let Some(export) = &self.policy.export_control {
            let limit = if export.webrtc { export.limit_with_webrtc } else { export.limit };
            // Writing to a string cannot fail.
            let _ = write!(limits, ", export control at {limit}");
        }
        match self.policy.mode {
            Mode::Enforce => limits,
            Mode::Shadow => format!("{limits}; SHADOW MODE: nothing is refused, only counted"),
        }
    }

    fn licensing(&self) -> String {
        let LicenseView { profile, state, effect_now, hours_left, .. } = self.license;
        match state.as_str() {
            "evaluation" => format!("profile {profile}, evaluation: {hours_left} hours of running time left"),
            state => format!("profile {profile}, {state}: {effect_now}"),
        }
    }

    fn calls(&self) -> String {
        match (self.journal, self.recovered) {
            (false, _) => "not kept over a restart (journal.enabled = false)".to_owned(),
            (true, 0) => "kept over a restart by the journal; none were live".to_owned(),
            (true, n) => format!("{n} live again from the journal, in doubt until their proxy names or releases them"),
        }
    }
}

/// How many sessions of a type there are. Where nodes share them the gate has no count of its own: the cluster moves the limit.
fn sessions_of(name: &str, count: u32) -> String {
    let which = if name == "session" { String::new() } else { format!("{name} ") };
    match count {
        u32::MAX => format!("{which}sessions as the cluster lends them"),
        count => format!("{count} {which}sessions"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::license::view::ViewInput;
    use crate::shell::license::driver::evaluating;
    use crate::units::{Now, Tick, UnixMillis};

    #[test]
    fn sessions_are_counted_by_type_and_shared_ones_are_no_number() {
        assert_eq!(sessions_of("session", 50), "50 sessions");
        assert_eq!(sessions_of("premium", 5), "5 premium sessions");
        assert_eq!(sessions_of("session", u32::MAX), "sessions as the cluster lends them");
    }

    #[test]
    fn the_first_start_tells_a_newcomer_what_runs_where_and_what_to_try() {
        let now = Now { tick: Tick::from_secs(1), wall: UnixMillis(1_800_000_000_000) };
        let agent = evaluating(now);
        let license = LicenseView::of(&ViewInput {
            node: "sip-a",
            state: agent.state(),
            setup: agent.setup(),
            usage: agent.usage(),
            ports: &[],
            alarms: &[],
            server: None,
            proxy: None,
            now: now.wall,
        });
        let policy = Policy::default();
        let banner = Banner {
            node: "sip-a",
            pid: 4711,
            data_dir: "/var/lib/callgate".to_owned(),
            resp: vec!["127.0.0.1:7500".to_owned(), "unix:/var/lib/callgate/callgate.sock".to_owned()],
            datagram: vec!["127.0.0.1:7500".to_owned()],
            http: Some("127.0.0.1:7501".to_owned()),
            policy: &policy,
            license: &license,
            recovered: 0,
            journal: true,
        };
        insta::assert_snapshot!("first_start", banner.text());
        let shadow = Policy { mode: Mode::Shadow, rate: None, ..Policy::default() };
        let banner =
            Banner { policy: &shadow, resp: Vec::new(), datagram: Vec::new(), http: None, recovered: 12, ..banner };
        insta::assert_snapshot!("shadow_restart", banner.text());
    }
}
