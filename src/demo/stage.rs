//! Sets everything up, step by step, by the commands that an operator would use: a license manager with licenses and a token,
//! certificates, three sidecars that register and find each other.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::child::{Child, Program};
use super::pace::Pace;
use super::say::Say;
use super::watch::{Watch, number};
use super::workspace::Workspace;
use crate::cli::Failure;
use crate::units::CALLS_PER_SECOND_PER_LICENSE;

/// The sidecars.
pub(super) const NAMES: [&str; 3] = ["sip-a", "sip-b", "sip-c"];
/// Licenses of five calls per second that each of them asks for.
const LICENSES: u32 = 20;
/// How long a step may take that takes a second or less.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running sidecar.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: &'static str,
    /// Its HTTP address.
    pub(super) http: String,
    /// Its data directory, with its sockets.
    pub(super) directory: PathBuf,
    /// Calls per second that it was granted.
    pub(super) home: u32,
    pub(super) watch: Watch,
}

impl Node {
    /// RESP.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.join("callgate.sock")
    }

    /// For commands.
    pub(super) fn admin(&self) -> PathBuf {
        self.directory.join("admin.sock")
    }
}

/// Everything that runs. Stop it: sidecars first, the manager last.
#[derive(Debug, Default)]
pub(super) struct Stage {
    /// In the order of their start: the manager, then the sidecars.
    pub(super) children: Vec<Child>,
    pub(super) nodes: Vec<Node>,
    /// The manager's HTTPS address.
    pub(super) manager: String,
}

/// What setting up works with.
#[derive(Debug)]
pub(super) struct Hands<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) program: &'a Program,
    pub(super) pace: &'a mut Pace,
    pub(super) say: &'a mut Say,
}

fn io_failed(what: &str) -> impl FnOnce(std::io::Error) -> Failure {
    move |error| Failure::Refused(format!("{what}: {error}"))
}

/// A path as a word of a command and of a configuration.
fn word(path: &Path) -> Result<&str, Failure> {
    path.to_str()
        .ok_or_else(|| Failure::Refused(format!("{} is not UTF-8: set TMPDIR to another directory", path.display())))
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Stage {
    /// Sets everything up. What was started is in `self` even if it fails.
    ///
    /// # Errors
    /// If a step fails: with the child's last log lines, if it was one's fault.
    pub(super) fn set(&mut self, hands: &mut Hands<'_>) -> Result<(), Failure> {
        self.start_manager(hands)?;
        self.certificates(hands)?;
        self.sell(hands)?;
        self.start_sidecars(hands)?;
        self.register(hands)?;
        self.connect(hands)
    }

    fn start_manager(&mut self, hands: &mut Hands<'_>) -> Result<(), Failure> {
        let directory = hands.workspace.file("manager");
        let words = ["manager", "serve", "--data-dir", word(&directory)?, "--listen", "127.0.0.1:0"];
        self.children.push(hands.program.start("manager", &words)?);
        let Some(manager) = self.children.last_mut() else { return Ok(()) };
        let addresses = addresses(hands.pace, manager, &directory)?;
        self.manager = addresses["https"].as_str().unwrap_or_default().to_owned();
        hands
            .say
            .step("manager", &format!("ready at https://{}, with a certificate authority of its own", self.manager))
    }

    fn certificates(&self, hands: &mut Hands<'_>) -> Result<(), Failure> {
        let directory = hands.workspace.file("ca");
        let directory = word(&directory)?;
        hands.program.run(&["cluster", "ca", "init", directory], Stdio::null())?;
        for name in NAMES {
            hands.program.run(&["cluster", "ca", "issue", name, directory], Stdio::null())?;
        }
        hands.say.step("cluster", &format!("made certificates for {}, by which they know each other", NAMES.join(", ")))
    }

    fn sell(&self, hands: &mut Hands<'_>) -> Result<(), Failure> {
        let directory = hands.workspace.file("manager");
        let reach = ["--data-dir", word(&directory)?];
        let uses = NAMES.len();
        let sold = LICENSES * u32::try_from(uses).unwrap_or(0);
        let pool = ["manager", "pool", "add", "open.cps", &sold.to_string()];
        hands.program.run(&[&pool[..], &reach].concat(), Stdio::null())?;
        // The token goes from process to process by way of this file, which nobody else can read.
        let token = hands.workspace.private("token").map_err(io_failed("the token's file can't be made"))?;
        let create = ["manager", "token", "create", "--uses", &uses.to_string()];
        hands.program.run(&[&create[..], &reach].concat(), token)?;
        let rate = sold * CALLS_PER_SECOND_PER_LICENSE;
        hands.say.step(
            "manager",
            &format!("sold {sold} licenses = {rate} calls per second; a token for {uses} registrations"),
        )
    }

    fn start_sidecars(&mut self, hands: &mut Hands<'_>) -> Result<(), Failure> {
        // Peers name each other's ports in their configurations: chosen now, let go at once, bound by the sidecars.
        let free = NAMES.map(|_| UdpSocket::bind("127.0.0.1:0").and_then(|socket| Ok((socket.local_addr()?, socket))));
        let mut ports = Vec::new();
        for bound in free {
            ports.push(bound.map_err(io_failed("no UDP port on 127.0.0.1"))?);
        }
        let peers: String = NAMES
            .iter()
            .zip(&ports)
            .map(|(name, (address, _))| format!("[cluster.peers.{name}]\naddress = \"{address}\"\n"))
            .collect();
        for (name, (address, socket)) in NAMES.iter().zip(ports) {
            let text = self.configuration(hands.workspace, name, &address.to_string(), &peers)?;
            let file = hands.workspace.write(&format!("{name}.toml"), &text);
            let file = file.map_err(io_failed("a configuration can't be written"))?;
            drop(socket);
            self.children.push(hands.program.start(name, &["serve", "--config", word(&file)?])?);
        }
        for name in NAMES {
            let directory = hands.workspace.file(name);
            let Some(child) = self.children.iter_mut().find(|child| child.name == name) else { continue };
            let addresses = addresses(hands.pace, child, &directory)?;
            let http = addresses["http"].as_str().unwrap_or_default().to_owned();
            let watch = Watch::connect(&directory.join("admin.sock"))?;
            hands.say.step(name, &format!("ready: http://{http}, and RESP at {name}/callgate.sock"))?;
            self.nodes.push(Node { name, http, directory, home: 0, watch });
        }
        Ok(())
    }

    fn configuration(&self, workspace: &Workspace, name: &str, address: &str, peers: &str) -> Result<String, Failure> {
        let path = |file: &str| word(&workspace.file(file)).map(quoted);
        let count = LICENSES * CALLS_PER_SECOND_PER_LICENSE;
        // Sidecars of one host share its identity. These stand for three hosts, so each has one of its own.
        Ok(format!(
            "[node]\nname = \"{name}\"\ndata_dir = {data}\n\n[license]\ncount = {count}\nurl = \"https://{manager}\"\n\
             trust = \"file\"\nca_file = {authority}\nstable_id = {identity}\n\n[listen]\nresp = [\"unix:callgate.sock\"]\ndatagram = []\n\
             http = \"127.0.0.1:0\"\ndrain_time = \"0s\"\n\n[cluster]\nlisten = \"{address}\"\nca_file = {ca}\n\
             certificate_file = {certificate}\nkey_file = {key}\n{peers}",
            data = path(name)?,
            manager = self.manager,
            authority = path("manager/ca.pem")?,
            identity = quoted(&format!("{name} of {}", workspace.path().display())),
            ca = path("ca/ca.pem")?,
            certificate = path(&format!("ca/{name}.pem"))?,
            key = path(&format!("ca/{name}.key"))?,
        ))
    }

    fn register(&mut self, hands: &mut Hands<'_>) -> Result<(), Failure> {
        let token = hands.workspace.file("token");
        for node in &self.nodes {
            let admin = node.admin();
            let words = ["license", "register", "--token-file", word(&token)?, "--admin", word(&admin)?];
            hands.program.run(&words, Stdio::null())?;
        }
        for node in &mut self.nodes {
            let Some(child) = self.children.iter_mut().find(|child| child.name == node.name) else { continue };
            hands.pace.until("a registration", PATIENCE, child, || node.watch.authorized())?;
            let granted = hands.pace.until("its grant", PATIENCE, child, || node.watch.home())?;
            node.home = granted * CALLS_PER_SECOND_PER_LICENSE;
            let text = format!("registered: {granted} licenses = {} calls per second", node.home);
            hands.say.step(node.name, &text)?;
        }
        Ok(())
    }

    fn connect(&mut self, hands: &mut Hands<'_>) -> Result<(), Failure> {
        let others = NAMES.len() - 1;
        for node in &self.nodes {
            let Some(child) = self.children.iter_mut().find(|child| child.name == node.name) else { continue };
            hands.pace.until("a connection to each peer", PATIENCE, child, || {
                let cluster = node.watch.cluster()?;
                let members = cluster["members"].as_array().map(Vec::as_slice).unwrap_or_default();
                let connected = members.iter().filter(|member| member["state"] == "connected").count();
                Ok((connected >= others).then_some(()))
            })?;
        }
        hands.say.step("cluster", "all are connected over QUIC, and lend each other what they don't need")
    }
}

/// Where a child listens, once it does.
fn addresses(pace: &mut Pace, child: &mut Child, directory: &Path) -> Result<Value, Failure> {
    let file = directory.join("addresses.json");
    let pid = u64::from(child.id());
    pace.until("it listens nowhere yet", PATIENCE, child, || {
        let text = std::fs::read(&file).ok();
        let found = text.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        Ok(found.filter(|found| number(found, "/pid") == Some(pid)))
    })
}
