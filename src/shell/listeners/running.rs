//! Starts the front ends, and ends them.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::datagram::{self, BoundDatagram};
use super::peers::Peers;
use super::settings::{DatagramEndpoint, Endpoint, ExposureError, Settings, check_exposure};
use super::shared::{Shared, Throttle};
use super::socket::{BindError, Bound};
use super::{http, resp};
use crate::shell::Context;
use crate::shell::telemetry::FrontEnd;

/// Threads of one runtime for what must not run on its reactor.
const SLOW_THREADS: usize = 2;

/// Why the front ends can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address beyond loopback without a secret.
    #[error(transparent)]
    Exposure(#[from] ExposureError),
    /// An address that can't be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A thread or runtime that can't be made.
    #[error("can't start the thread {name}: {source}")]
    Thread {
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The front ends.
#[derive(Debug)]
pub struct Listeners;

/// The front ends while they run. Dropping this stops nothing: call [`Running::drain`].
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Where RESP listens, with the ports that the system chose.
    pub resp: Vec<Endpoint>,
    /// Where datagrams are taken, with the ports that the system chose.
    pub datagram: Vec<DatagramEndpoint>,
    /// Where HTTP listens.
    pub http: Option<SocketAddr>,
    /// The admin socket.
    pub admin_socket: Option<PathBuf>,
}

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had to be cut off because they did not end in time.
    pub cut: usize,
}

impl Listeners {
    /// Binds every address, then starts the threads.
    ///
    /// # Errors
    /// If an address is exposed without a secret, or taken, or a thread can't be made. Nothing listens then.
    pub fn start(context: Arc<Context>, settings: Settings) -> Result<Running, StartError> {
        check_exposure(&settings)?;
        raise_file_limit();
        let mut sockets = Vec::new();
        for endpoint in &settings.resp {
            sockets.push((Bound::bind(endpoint)?, endpoint));
        }
        let resp = sockets.iter().map(|(socket, asked)| socket.local(asked)).collect();
        let mut datagrams = Vec::new();
        for endpoint in &settings.datagram {
            datagrams.push((BoundDatagram::bind(endpoint)?, endpoint));
        }
        let datagram = datagrams.iter().map(|(socket, asked)| socket.local(asked)).collect();
        let http_endpoint = settings.http.map(Endpoint::Tcp);
        let http = http_endpoint.as_ref().map(Bound::bind).transpose()?;
        let http_at = match http_endpoint.as_ref().zip(http.as_ref()).map(|(asked, socket)| socket.local(asked)) {
            Some(Endpoint::Tcp(address)) => Some(address),
            Some(Endpoint::Unix { .. }) | None => None,
        };
        let admin_endpoint = settings.admin_socket.clone().map(|path| Endpoint::Unix { path, mode: 0o600 });
        let admin = admin_endpoint.as_ref().map(Bound::bind).transpose()?;
        let peers = |front| Peers::new(front, settings.limits.clone(), context.counters.clone());
        let shared = Arc::new(Shared {
            access: ArcSwap::from_pointee(settings.access),
            stop: CancellationToken::new(),
            resp: peers(FrontEnd::Resp),
            http: peers(FrontEnd::Http),
            admin: peers(FrontEnd::Admin),
            event_streams: AtomicUsize::new(0),
            wrong_passwords: Throttle::default(),
            limits: settings.limits,
            context,
        });
        let mut running =
            Running { shared, threads: Vec::new(), resp, datagram, http: http_at, admin_socket: settings.admin_socket };
        let sockets: Vec<Bound> = sockets.into_iter().map(|(socket, _)| socket).collect();
        let datagrams: Vec<BoundDatagram> = datagrams.into_iter().map(|(socket, _)| socket).collect();
        let reactors = settings.reactors.max(1);
        let started =
            running.start_reactors(&sockets, &datagrams, reactors).and_then(|()| running.start_http(http, admin));
        if let Err(error) = started {
            running.drain(Duration::ZERO);
            return Err(error);
        }
        Ok(running)
    }
}

impl Running {
    /// Threads that serve RESP and datagrams alike.
    fn start_reactors(
        &mut self,
        sockets: &[Bound],
        datagrams: &[BoundDatagram],
        reactors: usize,
    ) -> Result<(), StartError> {
        if sockets.is_empty() && datagrams.is_empty() {
            return Ok(());
        }
        for index in 0..reactors {
            let name = format!("resp-{index}");
            let failed = |source| StartError::Thread { name: name.clone(), source };
            let clones: io::Result<Vec<Bound>> = sockets.iter().map(Bound::try_clone).collect();
            let clones = clones.map_err(failed)?;
            let datagrams: io::Result<Vec<BoundDatagram>> = datagrams.iter().map(BoundDatagram::try_clone).collect();
            let datagrams = datagrams.map_err(failed)?;
            let shared = Arc::clone(&self.shared);
            self.spawn(name, reactor(shared, clones, datagrams, index == 0))?;
        }
        Ok(())
    }

    fn start_http(&mut self, http: Option<Bound>, admin: Option<Bound>) -> Result<(), StartError> {
        if http.is_some() || admin.is_some() {
            let shared = Arc::clone(&self.shared);
            self.spawn("http".to_owned(), http::run(shared, http, admin))?;
        }
        Ok(())
    }

    /// Runs `work` on a thread with a runtime of its own.
    fn spawn(
        &mut self,
        name: String,
        work: impl Future<Output = io::Result<()>> + Send + 'static,
    ) -> Result<(), StartError> {
        let failed = |source| StartError::Thread { name: name.clone(), source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(SLOW_THREADS)
            .build()
            .map_err(failed)?;
        let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
            if let Err(error) = runtime.block_on(work) {
                tracing::error!(%error, "a front end failed");
            }
            runtime.shutdown_background();
        });
        self.threads.push(thread.map_err(failed)?);
        Ok(())
    }

    /// Puts other secrets in force. Connections that have proven themselves stay.
    pub fn set_access(&self, access: Access) {
        self.shared.access.store(Arc::new(access));
    }

    /// Connections open now, of all front ends.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.resp.open() + self.shared.http.open() + self.shared.admin.open()
    }

    /// Stops: accepts nothing more, answers what was sent, closes. After `timeout` the connections that are left are cut
    /// off. Blocks: call it off any reactor.
    pub fn drain(self, timeout: Duration) -> Drained {
        self.shared.stop.cancel();
        let clock = self.shared.context.clock;
        let began = clock.tick();
        // The reactors answer what their sockets hold, then see the end of the stream.
        self.shared.resp.finish_reading();
        let waited = || Duration::from_nanos(clock.tick().nanos_since(began));
        while self.connections() > 0 && waited() < timeout {
            // One that was accepted in the last moment is told as well.
            self.shared.resp.finish_reading();
            pause(Duration::from_millis(5));
        }
        let cut = self.connections();
        for peers in [&self.shared.resp, &self.shared.http, &self.shared.admin] {
            peers.end_all();
        }
        let ended = waited() + Duration::from_secs(2);
        while self.threads.iter().any(|thread| !thread.is_finished()) && waited() < ended {
            pause(Duration::from_millis(5));
        }
        let sockets = self.resp.iter().filter_map(|endpoint| match endpoint {
            Endpoint::Unix { path, .. } => Some(path),
            Endpoint::Tcp(_) => None,
        });
        let datagrams = self.datagram.iter().filter_map(|endpoint| match endpoint {
            DatagramEndpoint::Unix { path, .. } => Some(path),
            DatagramEndpoint::Udp(_) => None,
        });
        for path in sockets.chain(datagrams).chain(&self.admin_socket) {
            // It may be gone already; a stale one is replaced at the next start.
            let _ = std::fs::remove_file(path);
        }
        Drained { cut }
    }
}

/// One reactor: ends when its datagrams and its connections have.
async fn reactor(
    shared: Arc<Shared>,
    sockets: Vec<Bound>,
    datagrams: Vec<BoundDatagram>,
    sweeps: bool,
) -> io::Result<()> {
    let serve = |socket| tokio::spawn(datagram::serve(Arc::clone(&shared), socket));
    let tasks: Vec<_> = datagrams.into_iter().map(serve).collect();
    resp::reactor(shared, sockets, sweeps).await?;
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the drain is a thread's own business, off every reactor")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Every connection takes a file descriptor: as many as the system lets this process have.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
        if let Err(error) = raised {
            tracing::warn!(%error, "can't raise the limit of open files");
        }
    }
}
