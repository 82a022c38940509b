//! Kamailio and SIPp in a lane: the proxy with the files of `config/kamailio`, callers and callees with those of
//! `tests/e2e/sipp`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::capture::{Capture, Recording};
use crate::support::lane::Lane;
use crate::support::process::Process;
use crate::support::sidecar::{Settings, Sidecar};
use crate::support::within;

/// How the proxy asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Resp,
    Http,
}

impl Via {
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Resp => 7500,
            Self::Http => 7501,
        }
    }
}

pub(crate) const PROXY_PORT: u16 = 5060;
pub(crate) const CALLER_PORT: u16 = 5061;
pub(crate) const CALLEE_PORT: u16 = 5080;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A lane with a sidecar, a proxy and a capture. Fields end in this order.
#[derive(Debug)]
pub(crate) struct Rig {
    proxy: Process,
    pub(crate) sidecar: Sidecar,
    capture: Option<Capture>,
    callees: Vec<Process>,
    defines: Vec<String>,
    host: &'static str,
    pub(crate) lane: Lane,
}

impl Rig {
    pub(crate) fn start(name: &str, via: Via, settings: &Settings, defines: &[&str]) -> Self {
        Self::start_in(Lane::open(name), via, settings, defines)
    }

    /// The same in a lane where something else runs already.
    pub(crate) fn start_in(lane: Lane, via: Via, settings: &Settings, defines: &[&str]) -> Self {
        let sidecar = Sidecar::start(&lane, settings);
        let capture = Some(Capture::start(&lane));
        for entry in std::fs::read_dir(project("config/kamailio")).expect("config/kamailio can be read") {
            let file = entry.expect("a file of config/kamailio").path();
            std::fs::copy(&file, lane.path(&file.file_name().expect("a name").to_string_lossy()))
                .expect("it can be copied");
        }
        std::fs::copy(project("tests/e2e/local-routes.cfg"), lane.path("local-routes.cfg")).expect("it can be copied");
        let host = settings.host;
        let mut defines: Vec<String> = defines.iter().map(|define| (*define).to_owned()).collect();
        defines.push("LOCAL_ROUTES".into());
        defines.push(format!("LISTEN=udp:{host}:{PROXY_PORT}"));
        defines.push(format!("CALLEE=\"sip:{host}:{CALLEE_PORT}\""));
        defines.push(format!("CTL_SOCKET=\"unix:{}\"", lane.path("ctl").display()));
        let bare = host.trim_matches(['[', ']']);
        defines.push(format!("CALLGATE_REDIS=\"name=callgate;addr={bare};port=7500;db=0\""));
        defines.push(format!("CALLGATE_URL=\"callgate=>http://{host}:7501\""));
        if via == Via::Http {
            defines.push("CALLGATE_HTTP".into());
        }
        let proxy = start_proxy(&lane, &defines);
        Self { proxy, sidecar, capture, callees: Vec::new(), defines, host, lane }
    }

    /// `kill -9` to the proxy and all its workers.
    pub(crate) fn kill_proxy(&mut self) {
        self.proxy.kill();
    }

    pub(crate) fn restart_proxy(&mut self) {
        self.proxy = start_proxy(&self.lane, &self.defines);
    }

    /// Starts a callee: a file of `tests/e2e/sipp`.
    pub(crate) fn callee(&mut self, scenario: &str, port: u16) {
        let mut command = self.sipp(scenario, port);
        let callee = self.lane.start(&format!("callee-{port}"), &mut command);
        self.callees.push(callee);
        self.wait_bound(port);
    }

    fn sipp(&self, scenario: &str, port: u16) -> std::process::Command {
        let mut command = self.lane.command("sipp");
        command.arg("-sf").arg(project(&format!("tests/e2e/sipp/{scenario}.xml")));
        command.args([
            "-i",
            self.host.trim_matches(['[', ']']),
            "-p",
            &port.to_string(),
            "-t",
            "u1",
            "-nostdin",
            "-nd",
        ]);
        command
    }

    fn wait_bound(&self, port: u16) {
        let bound = || {
            let sockets = self.lane.run("cat", &["/proc/self/net/udp", "/proc/self/net/udp6"]);
            String::from_utf8_lossy(&sockets.stdout).contains(&format!(":{port:04X} "))
        };
        assert!(within(Duration::from_secs(5), bound), "nothing listens on port {port}");
    }

    /// Starts callers; they run until their calls are done.
    pub(crate) fn callers(&self, calls: &Calls) -> Callers {
        let mut command = self.sipp(calls.scenario, calls.port);
        let ruri = calls.ruri.replace("HOST", self.host);
        command.arg(format!("{}:{PROXY_PORT}", self.host)).args([
            "-m",
            &calls.count.to_string(),
            "-r",
            &calls.rate.to_string(),
        ]);
        command.args([
            "-d",
            &calls.hold_ms.to_string(),
            "-l",
            "5000",
            "-key",
            "ruri",
            &ruri,
            "-key",
            "trunk",
            calls.trunk,
        ]);
        command.args(["-key", "fork", if calls.forked { "yes" } else { "no" }, "-timeout", "60s", "-timeout_error"]);
        command.args(["-trace_err", "-error_file"]).arg(self.lane.path(&format!("callers-{}.err", calls.port)));
        Callers { sipp: self.lane.start(&format!("callers-{}", calls.port), &mut command) }
    }

    /// Runs callers to their end; every call must have gone as its scenario says.
    pub(crate) fn call(&self, calls: &Calls) {
        self.callers(calls).succeed();
    }

    /// Whether these bytes went over the wire already.
    pub(crate) fn heard(&self, text: &str) -> bool {
        self.times_heard(text) > 0
    }

    /// How often they did.
    pub(crate) fn times_heard(&self, text: &str) -> usize {
        let captured = std::fs::read(self.lane.path("capture.pcap")).unwrap_or_default();
        captured.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
    }

    /// Tells the sidecar which calls the proxy really has, with the script that users get. Its last line.
    pub(crate) fn resync(&self) -> String {
        let mut command = self.lane.command("sh");
        command.arg(self.lane.path("callgate-resync.sh"));
        command.env("KAMCMD_SOCKET", format!("unix:{}", self.lane.path("ctl").display()));
        command.env("CALLGATE_SOCKET", self.sidecar.data_dir().join("callgate.sock"));
        let output = command.output().expect("the script runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        said.lines().last().unwrap_or_default().to_owned()
    }

    /// Ends the capture: what was said.
    pub(crate) fn recording(&mut self) -> Recording {
        self.capture.take().expect("the capture runs").finish()
    }
}

fn start_proxy(lane: &Lane, defines: &[String]) -> Process {
    let mut command = lane.command("kamailio");
    command.args(["-DD", "-E", "-m", "64", "-M", "8", "-f"]).arg(lane.path("kamailio.cfg"));
    command.arg("-Y").arg(lane.dir()).arg("-P").arg(lane.path("kamailio.pid"));
    for define in defines {
        command.args(["-A", define]);
    }
    let ctl = lane.path("ctl");
    let _stale = std::fs::remove_file(&ctl);
    let mut proxy = lane.start("kamailio", &mut command);
    // It answers there once its processes run.
    let ready = || {
        ctl.exists() && lane.run("kamcmd", &["-s", &format!("unix:{}", ctl.display()), "core.uptime"]).status.success()
    };
    let ready = within(Duration::from_secs(10), || proxy.running() && ready());
    assert!(ready, "Kamailio does not start:\n{}", proxy.log());
    proxy
}

/// Calls to make.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    pub(crate) scenario: &'static str,
    pub(crate) count: u32,
    /// New calls per second.
    pub(crate) rate: u32,
    pub(crate) hold_ms: u32,
    /// `HOST` stands for the lane's address.
    pub(crate) ruri: &'static str,
    pub(crate) trunk: &'static str,
    pub(crate) forked: bool,
    pub(crate) port: u16,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            scenario: "uac",
            count: 1,
            rate: 100,
            hold_ms: 300,
            ruri: "sip:100@HOST:5080",
            trunk: "-",
            forked: false,
            port: CALLER_PORT,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Callers {
    sipp: Process,
}

impl Callers {
    /// Waits for their end; every call must have gone as its scenario says.
    pub(crate) fn succeed(mut self) {
        let status = self.sipp.wait(Duration::from_secs(70));
        assert!(status.success(), "a call failed: SIPp ended with {status}");
    }

    /// Waits for their end, whatever became of the calls.
    pub(crate) fn end(mut self) {
        self.sipp.wait(Duration::from_secs(70));
    }
}
