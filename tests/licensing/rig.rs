//! A license manager and sidecars in a lane, as an operator would run them: started, asked and told by their own command
//! lines alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::lane::Lane;
use crate::support::process::Process;
use crate::support::within;

/// How long anything of the slow path may take before a scenario gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn binary() -> PathBuf {
    std::env::var_os("CALLGATE_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_callgate").into()).into()
}

/// What a command printed, and whether it succeeded.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Told {
    #[track_caller]
    pub(super) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    pub(super) fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} in {out}"))
    }

    /// The reason of a refusal.
    #[track_caller]
    pub(super) fn refused(self) -> String {
        assert_eq!(self.code, Some(1), "{}\n{}", self.out, self.err);
        self.err
    }
}

/// libfaketime, read from a file at each look at the clock: a day passes by writing "+1d".
#[derive(Debug, Clone)]
pub(super) struct FakeTime {
    file: PathBuf,
    /// The wall clock alone runs ahead: a clock that somebody set, not time that passed.
    wall_alone: bool,
}

impl FakeTime {
    pub(super) fn new(lane: &Lane) -> Self {
        let time = Self { file: lane.path("faketime"), wall_alone: false };
        time.set(0);
        time
    }

    /// The wall clock alone, as if somebody set it.
    pub(super) fn of_the_wall_alone(lane: &Lane) -> Self {
        Self { wall_alone: true, ..Self::new(lane) }
    }

    /// From now on it is so many hours later than it is, in all of its processes at once.
    pub(super) fn set(&self, hours: u64) {
        // A rename: no process reads half of it.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("+{hours}h\n")).expect("the time can be written");
        std::fs::rename(&new, &self.file).expect("the time can be put in force");
        // Whatever was on its way has taken too long now: give it the time to fail, and to be begun again.
        std::thread::sleep(Duration::from_millis(1500));
    }

    fn apply(&self, command: &mut Command) {
        let library = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
            .map(|arch| PathBuf::from(format!("/usr/lib/{arch}/faketime/libfaketimeMT.so.1")))
            .into_iter()
            .find(|path| path.exists())
            .expect("libfaketime: tests/run-all.sh installs it");
        command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &self.file).env("FAKETIME_NO_CACHE", "1");
        if self.wall_alone {
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
    }
}

/// A running license manager.
#[derive(Debug)]
pub(super) struct Manager {
    process: Process,
    dir: PathBuf,
    config: PathBuf,
    time: Option<FakeTime>,
    address: String,
    tokens: std::cell::Cell<u32>,
}

impl Manager {
    pub(super) fn start(lane: &Lane) -> Self {
        Self::start_with(lane, "127.0.0.1:7510", "sqlite", None)
    }

    pub(super) fn start_with(lane: &Lane, address: &str, database: &str, time: Option<FakeTime>) -> Self {
        let dir = lane.path("manager");
        let config = lane.path("manager.toml");
        let text = format!(
            "data_dir = \"{}\"\nlisten = \"{address}\"\ndatabase = \"{database}\"\naccount = \"Example\"\n\
             names = [\"license.test\", \"10.9.9.9\"]\n[limits]\nregistrations_per_minute = 10000\n",
            dir.display()
        );
        std::fs::write(&config, text).expect("the configuration can be written");
        let process = Self::spawn(lane, &config, time.as_ref());
        let mut manager =
            Self { process, dir, config, time, address: address.to_owned(), tokens: std::cell::Cell::new(0) };
        manager.wait_ready(lane);
        manager
    }

    fn spawn(lane: &Lane, config: &Path, time: Option<&FakeTime>) -> Process {
        let mut command = lane.command(binary());
        command.args(["manager", "serve", "--config"]).arg(config);
        if let Some(time) = time {
            time.apply(&mut command);
        }
        lane.start("manager", &mut command)
    }

    fn wait_ready(&mut self, lane: &Lane) {
        let ready = within(PATIENCE, || {
            assert!(self.process.running(), "the manager ended; its log:\n{}", self.process.log());
            self.cli(lane, &["account", "list"]).code == Some(0)
        });
        assert!(ready, "the manager does not answer; its log:\n{}", self.process.log());
    }

    /// `callgate manager …`.
    pub(super) fn cli(&self, lane: &Lane, arguments: &[&str]) -> Told {
        let mut command = lane.command(binary());
        command.arg("manager").args(arguments).arg("--config").arg(&self.config);
        if let Some(time) = &self.time {
            time.apply(&mut command);
        }
        command.output().expect("the command starts").into()
    }

    pub(super) fn json(&self, lane: &Lane, arguments: &[&str]) -> Value {
        self.cli(lane, &[arguments, &["--format", "json"]].concat()).json()
    }

    pub(super) fn kill(&mut self) {
        self.process.kill();
    }

    pub(super) fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    pub(super) fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    pub(super) fn restart(&mut self, lane: &Lane) {
        self.process = Self::spawn(lane, &self.config, self.time.as_ref());
        self.wait_ready(lane);
    }

    pub(super) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A token for a virtual account, in a file that a sidecar can register with.
    pub(super) fn token(&self, lane: &Lane, account: &str, more: &[&str]) -> PathBuf {
        let created = self.cli(lane, &[&["token", "create", "--account", account], more].concat()).ok();
        self.tokens.set(self.tokens.get() + 1);
        let file = lane.path(&format!("token-{}", self.tokens.get()));
        std::fs::write(&file, created).expect("the token can be written");
        file
    }

    /// Buys licenses.
    pub(super) fn buy(&self, lane: &Lane, account: &str, tag: &str, quantity: u64) {
        self.cli(lane, &["pool", "add", tag, &quantity.to_string(), "--account", account]).ok();
    }

    /// The items of a list.
    pub(super) fn list(&self, lane: &Lane, arguments: &[&str]) -> Vec<Value> {
        let listed = self.json(lane, arguments);
        let items = listed.get("items").unwrap_or(&listed);
        items.as_array().unwrap_or_else(|| panic!("no list in {listed}")).clone()
    }

    /// Licenses in use of a tag in a virtual account.
    pub(super) fn in_use(&self, lane: &Lane, account: &str, tag: &str) -> u64 {
        let pools = self.list(lane, &["pool", "list", "--account", account]);
        let pool = pools.iter().find(|pool| pool["tag"] == tag).unwrap_or_else(|| panic!("no {tag} in {pools:?}"));
        pool["in_use"].as_u64().unwrap_or_else(|| panic!("no use in {pool}"))
    }
}

/// How a sidecar is set up; the rest is as `callgate serve` has it.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) name: &'static str,
    pub(super) profile: &'static str,
    pub(super) count: u32,
    /// Further keys of `[license]`.
    pub(super) license: String,
    pub(super) time: Option<FakeTime>,
    /// The last two digits of its ports: 7500 + this.
    pub(super) port: u16,
    /// It runs on a host of this name alone, in a UTS namespace of its own: the name can change under it.
    pub(super) host: Option<&'static str>,
}

impl Settings {
    pub(super) fn of(manager: &Manager) -> Self {
        Self {
            name: "sip-a",
            profile: "open",
            count: 50,
            license: format!("url = \"{}\"\nca_file = \"{}\"\ntrust = \"file\"", manager.url(), manager.ca().display()),
            time: manager.time.clone(),
            port: 0,
            host: None,
        }
    }
}

/// A running sidecar that knows its license manager.
#[derive(Debug)]
pub(super) struct Sidecar {
    process: Process,
    pub(super) config: PathBuf,
    pub(super) data_dir: PathBuf,
    settings: Settings,
}

impl Sidecar {
    pub(super) fn start(lane: &Lane, settings: Settings) -> Self {
        let data_dir = lane.path(settings.name);
        let config = lane.path(&format!("{}.toml", settings.name));
        Self::write(&config, &data_dir, &settings);
        let process = Self::spawn(lane, &config, &settings);
        let mut sidecar = Self { process, config, data_dir, settings };
        sidecar.wait_ready(lane);
        sidecar
    }

    fn write(config: &Path, data_dir: &Path, settings: &Settings) {
        let Settings { name, profile, count, license, port, .. } = settings;
        let (resp, http) = (7600 + port * 2, 7601 + port * 2);
        let text = format!(
            "[node]\nname = \"{name}\"\ndata_dir = \"{}\"\nmax_call_rate = 10000\n\
             [license]\nprofile = \"{profile}\"\ncount = {count}\nenabled = true\nretry_jitter = false\n{license}\n\
             [listen]\nresp = [\"127.0.0.1:{resp}\"]\ndatagram = []\nhttp = \"127.0.0.1:{http}\"\n",
            data_dir.display()
        );
        std::fs::write(config, text).expect("the configuration can be written");
    }

    fn spawn(lane: &Lane, config: &Path, settings: &Settings) -> Process {
        let mut command = match settings.host {
            None => lane.command(binary()),
            Some(name) => {
                // Each program becomes the next one: the process id is the sidecar's.
                let mut command = lane.command("unshare");
                let named = "echo \"$0\" > /proc/sys/kernel/hostname && exec \"$@\"";
                command.args(["--uts", "sh", "-c", named, name]).arg(binary());
                command
            }
        };
        // The record of running time that a user's sidecars share is this sidecar's own.
        command
            .args(["serve", "--config"])
            .arg(config)
            .env("XDG_STATE_HOME", lane.path(&format!("{}-state", settings.name)));
        if let Some(time) = &settings.time {
            time.apply(&mut command);
        }
        lane.start(settings.name, &mut command)
    }

    fn wait_ready(&mut self, lane: &Lane) {
        let ready = within(PATIENCE, || {
            assert!(self.process.running(), "the sidecar ended; its log:\n{}", self.process.log());
            self.cli(lane, &["license", "status"]).code == Some(0)
        });
        assert!(ready, "the sidecar does not answer; its log:\n{}", self.process.log());
    }

    /// `callgate …`, against this sidecar.
    pub(super) fn cli(&self, lane: &Lane, arguments: &[&str]) -> Told {
        let mut command = lane.command(binary());
        command.args(arguments).arg("--config").arg(&self.config);
        if let Some(time) = &self.settings.time {
            time.apply(&mut command);
        }
        command.output().expect("the command starts").into()
    }

    pub(super) fn json(&self, lane: &Lane, arguments: &[&str]) -> Value {
        self.cli(lane, &[arguments, &["--format", "json"]].concat()).json()
    }

    pub(super) fn register(&self, lane: &Lane, token: &Path) -> Told {
        self.cli(lane, &["license", "register", "--token-file", &token.display().to_string()])
    }

    /// `callgate license status`, whole.
    pub(super) fn status(&self, lane: &Lane) -> Value {
        let mut told = None;
        // A clock that leaps makes the question itself look too old: it is asked again then.
        within(PATIENCE, || {
            let answer = self.cli(lane, &["license", "status", "--format", "json"]);
            let done = answer.code == Some(0);
            told = Some(answer);
            done
        });
        told.expect("it was asked").json()
    }

    /// The state's neutral name, such as `authorized`.
    pub(super) fn state(&self, lane: &Lane) -> String {
        let status = self.status(lane);
        status["overview"]["state"].as_str().unwrap_or_else(|| panic!("no state in {status}")).to_owned()
    }

    #[track_caller]
    pub(super) fn wait_state(&self, lane: &Lane, state: &str) {
        let reached = within(PATIENCE, || self.state(lane) == state);
        assert!(
            reached,
            "not {state} but {}; the sidecar's log:\n{}",
            self.status(lane),
            crate::support::process::tail(&self.process.log())
        );
    }

    /// The names of its active alarms.
    pub(super) fn alarms(&self, lane: &Lane) -> Vec<String> {
        let alarms = self.json(lane, &["alarms"]);
        let list = alarms["active"].as_array().unwrap_or_else(|| panic!("no list in {alarms}"));
        list.iter().filter_map(|alarm| alarm["id"].as_str().map(str::to_owned)).collect()
    }

    #[track_caller]
    pub(super) fn wait_alarm(&self, lane: &Lane, id: &str, stands: bool) {
        let told = within(PATIENCE, || self.alarms(lane).iter().any(|alarm| alarm == id) == stands);
        assert!(told, "{id} stands: {}; {:?}", !stands, self.alarms(lane));
    }

    /// Asks for so many calls over one connection, none of which is released: how many were admitted, and why the last was
    /// not.
    pub(super) fn admit_many(&self, lane: &Lane, prefix: &str, calls: u32) -> (u32, Option<String>) {
        let asked: String = (0..calls).map(|call| format!("ADMIT {prefix}-{call}\n")).collect();
        let file = lane.path(&format!("{prefix}-calls"));
        std::fs::write(&file, asked).expect("the calls can be written");
        let mut command = lane.command("redis-cli");
        command.args(["-p", &self.resp_port().to_string()]);
        command.stdin(std::fs::File::open(&file).expect("the calls can be read"));
        let told = command.output().expect("redis-cli starts");
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        // An answer is five lines: 1 or 0, the cause, three numbers.
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), usize::try_from(calls).expect("few calls") * 5, "{text}");
        let admitted = lines.chunks_exact(5).filter(|answer| answer[0] == "1").count();
        let why =
            lines.chunks_exact(5).filter(|answer| answer[0] == "0").map(|answer| answer[1].to_owned()).next_back();
        (u32::try_from(admitted).expect("few calls"), why)
    }

    /// Asks for one call over RESP: admitted, and why or why not.
    pub(super) fn admit(&self, lane: &Lane, id: &str) -> (bool, String) {
        let port = (7600 + self.settings.port * 2).to_string();
        let mut text = String::new();
        // A clock that leaps makes every connection look idle for as long: a client connects again then.
        let answered = within(PATIENCE, || {
            let told = lane.run("redis-cli", &["-p", &port, "ADMIT", id]);
            text = String::from_utf8_lossy(&told.stdout).into_owned();
            !text.is_empty()
        });
        assert!(answered, "no answer; the sidecar's log:\n{}", self.process.log());
        let mut lines = text.lines();
        let admitted = lines.next() == Some("1");
        (admitted, lines.next().unwrap_or_default().to_owned())
    }

    pub(super) fn resp_port(&self) -> u16 {
        7600 + self.settings.port * 2
    }

    pub(super) fn kill(&mut self) {
        self.process.kill();
    }

    pub(super) fn restart(&mut self, lane: &Lane) {
        self.process = Self::spawn(lane, &self.config, &self.settings);
        self.wait_ready(lane);
    }

    /// Changes its configuration and starts it again.
    pub(super) fn reconfigure(&mut self, lane: &Lane, change: impl FnOnce(&mut Settings)) {
        self.kill();
        change(&mut self.settings);
        Self::write(&self.config, &self.data_dir, &self.settings);
        self.restart(lane);
    }

    /// Changes its configuration's file alone.
    pub(super) fn edit(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        Self::write(&self.config, &self.data_dir, &self.settings);
    }

    /// SIGHUP.
    pub(super) fn hang_up(&self) {
        self.process.signal(Signal::HUP);
    }

    /// Renames its host, where it has one of its own.
    pub(super) fn rename_host(&self, lane: &Lane, name: &str) {
        let pid = self.process.pid().to_string();
        let script = format!("echo {name} > /proc/sys/kernel/hostname");
        let done = lane.run("nsenter", &["--target", &pid, "--uts", "sh", "-c", &script]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Starts it again with another clock; `None` is the host's.
    pub(super) fn reconfigure_clock(&mut self, lane: &Lane, time: Option<FakeTime>) {
        self.kill();
        self.settings.time = time;
        self.restart(lane);
    }

    pub(super) fn log(&self) -> String {
        self.process.log()
    }
}

/// A manager with 100 CPS licenses' worth of `open.cps`, and a sidecar that registered and was authorized.
pub(super) fn authorized(lane: &Lane) -> (Manager, Sidecar) {
    let manager = Manager::start(lane);
    manager.buy(lane, "Default", "open.cps", 20);
    let sidecar = Sidecar::start(lane, Settings::of(&manager));
    let token = manager.token(lane, "Default", &[]);
    sidecar.register(lane, &token).ok();
    sidecar.wait_state(lane, "authorized");
    (manager, sidecar)
}
