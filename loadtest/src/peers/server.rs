//! Servers that are started for one measurement, and ended by their own id.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{Peer, PeersError, find};
use crate::clock::Clock;
use crate::drive::Stream;
use crate::pin;
use crate::span::SECOND;
use crate::target::{Address, Target};
use crate::wire::{Wire, resp};

/// Where the programs are.
#[derive(Debug)]
pub(super) struct Programs {
    callgate: PathBuf,
    redis: Option<PathBuf>,
    throttlecrab: Option<PathBuf>,
    own: PathBuf,
}

impl Programs {
    pub(super) fn find(callgate: Option<PathBuf>) -> Result<Self, PeersError> {
        Ok(Self {
            callgate: find("callgate", callgate).ok_or(PeersError::NoCallgate)?,
            redis: find("redis-server", None),
            throttlecrab: find("throttlecrab-server", None),
            own: std::env::current_exe()?,
        })
    }

    pub(super) fn has(&self, peer: Peer) -> bool {
        match peer {
            Peer::Echo | Peer::Callgate => true,
            Peer::RedisIncr | Peer::RedisLua => self.redis.is_some(),
            Peer::Throttlecrab => self.throttlecrab.is_some(),
        }
    }
}

/// A running server. It ends with this value.
#[derive(Debug)]
pub(super) struct Server {
    peer: Peer,
    child: Child,
    target: Target,
    directory: TempDir,
}

/// How long a server may take to answer.
const START_TIMEOUT: u64 = 20 * SECOND;
const LOG: &str = "log";

impl Server {
    pub(super) fn start(peer: Peer, programs: &Programs, core: Option<usize>) -> Result<Self, PeersError> {
        let directory = TempDir::with_prefix("loadtest-")?;
        let address = free_address()?;
        let mut command = command(peer, programs, address, directory.path())?;
        let log = File::create(directory.path().join(LOG))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir(directory.path());
        // Pinned before it starts, so that no thread of it escapes.
        let child = pin::during(core, || command.spawn())
            .map_err(|error| PeersError::Start { peer: peer.name(), reason: error.to_string() })?;
        let target = Target { wire: Wire::Resp, address: Address::Tcp(address) };
        let mut server = Self { peer, child, target, directory };
        server.wait_until_it_answers()?;
        Ok(server)
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Asks one question. The text of its answer.
    pub(super) fn ask(&self, parts: &[&[u8]]) -> Result<String, PeersError> {
        let mut stream = Stream::open(&self.target.address)?;
        stream.wait_at_most(Duration::from_secs(2))?;
        let (mut question, mut answer, mut buffer) = (Vec::new(), Vec::new(), [0; 4096]);
        resp::command(&mut question, parts);
        stream.write_all(&question)?;
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            answer.extend_from_slice(&buffer[..count]);
            let parsed = self.target.wire.parse(&answer).map_err(|error| self.failed(error.to_string()))?;
            if let Some((reply, _)) = parsed {
                return Ok(String::from_utf8_lossy(reply.text).into_owned());
            }
        }
    }

    /// Processor time that it has used, all threads together, in nanoseconds.
    pub(super) fn cpu(&self) -> u64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let used = threads.filter_map(|thread| {
            let told = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            told.split(' ').next()?.parse::<u64>().ok()
        });
        used.sum()
    }

    fn failed(&self, reason: String) -> PeersError {
        PeersError::Start { peer: self.peer.name(), reason }
    }

    fn wait_until_it_answers(&mut self) -> Result<(), PeersError> {
        let clock = Clock::start();
        loop {
            // The echo server counts bytes: a question of another length would shift all that follow, on that connection only.
            let answered = match self.peer {
                Peer::Echo => Stream::open(&self.target.address).is_ok(),
                Peer::Callgate | Peer::RedisIncr | Peer::RedisLua | Peer::Throttlecrab => self.ask(&[b"PING"]).is_ok(),
            };
            if answered {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || clock.now() > START_TIMEOUT {
                let log = fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(10)..].join("\n  ");
                let what = ended.map_or_else(|| "does not answer".to_owned(), |status| format!("ended, {status}"));
                return Err(self.failed(format!("{what}; it said:\n  {tail}")));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn command(peer: Peer, programs: &Programs, address: SocketAddr, directory: &Path) -> io::Result<Command> {
    let port = address.port().to_string();
    let command = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments);
        command
    };
    let absent = || io::Error::from(io::ErrorKind::NotFound);
    Ok(match peer {
        Peer::Echo => command(&programs.own, &["echo", "--listen", &address.to_string()]),
        Peer::Callgate => {
            let file = directory.join("callgate.toml");
            fs::write(&file, callgate_config(address, directory))?;
            command(&fs::canonicalize(&programs.callgate)?, &["serve", "--config", &file.display().to_string()])
        }
        Peer::RedisIncr | Peer::RedisLua => {
            let program = programs.redis.as_deref().ok_or_else(absent)?;
            command(program, &["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        }
        Peer::Throttlecrab => {
            let program = programs.throttlecrab.as_deref().ok_or_else(absent)?;
            command(program, &["--redis", "--redis-host", "127.0.0.1", "--redis-port", &port, "--log-level", "warn"])
        }
    })
}

/// As it comes, but for a limit that no load reaches, and no address that another one may have.
fn callgate_config(address: SocketAddr, directory: &Path) -> String {
    format!(
        "[node]\ndata_dir = \"{}\"\nmax_call_rate = 1000000\n[license]\ncount = 1000000\n\
         [listen]\nresp = [\"{address}\"]\ndatagram = []\nhttp = \"127.0.0.1:0\"\n",
        directory.join("data").display()
    )
}
