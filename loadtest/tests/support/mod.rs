//! Limiters in this process: RESP over TCP and a Unix socket, one thread, a log of admissions as exact as its clock.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use loadtest::clock::Clock;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::LocalSet;

/// What a limiter does wrong, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Virtue {
    /// Nothing, given its limit.
    Exact,
    /// A live id is admitted anew.
    Forgetful,
    /// The first admission is never answered: its connection ends.
    HangsUpOnce,
}

/// A running limiter. Its thread lasts as long as the process.
#[derive(Debug)]
pub(crate) struct Limiter {
    address: std::net::SocketAddr,
    directory: TempDir,
    thread: JoinHandle<()>,
}

impl Limiter {
    /// Admits so many calls in any second.
    pub(crate) fn start(limit: usize, virtue: Virtue) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            LocalSet::new().block_on(&runtime, async {
                let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let unix = UnixListener::bind(path).unwrap();
                tell.send(tcp.local_addr().unwrap()).unwrap();
                let book = Rc::new(RefCell::new(Book::new(limit, virtue)));
                let over_unix = Rc::clone(&book);
                tokio::task::spawn_local(async move {
                    while let Ok((stream, _)) = unix.accept().await {
                        tokio::task::spawn_local(serve(stream, Rc::clone(&over_unix)));
                    }
                });
                while let Ok((stream, _)) = tcp.accept().await {
                    tokio::task::spawn_local(serve(stream, Rc::clone(&book)));
                }
            });
        });
        Self { address: told.recv().unwrap(), directory, thread }
    }

    pub(crate) fn tcp(&self) -> String {
        format!("resp://{}", self.address)
    }

    pub(crate) fn unix(&self) -> String {
        format!("resp+unix:{}", self.directory.path().join("socket").display())
    }

    pub(crate) fn serves(&self) -> bool {
        !self.thread.is_finished()
    }
}

struct Book {
    limit: usize,
    virtue: Virtue,
    hung_up: bool,
    clock: Clock,
    /// Instants of the admissions of the last second.
    log: VecDeque<u64>,
    live: HashSet<Vec<u8>>,
    refused: HashSet<Vec<u8>>,
}

impl Book {
    fn new(limit: usize, virtue: Virtue) -> Self {
        let (log, live, refused) = (VecDeque::new(), HashSet::new(), HashSet::new());
        Self { limit, virtue, hung_up: false, clock: Clock::start(), log, live, refused }
    }

    fn answer(&mut self, question: &[Vec<u8>]) -> String {
        match question {
            [verb, id, ..] if verb == b"ADMIT" => self.admit(id),
            [verb, id, ..] if verb == b"RELEASE" => format!(":{}\r\n", u8::from(self.live.remove(id))),
            [verb, id, ..] if verb == b"CONFIRM" => format!(":{}\r\n", u8::from(self.live.contains(id))),
            _ => "-ERR unknown command\r\n".to_owned(),
        }
    }

    fn admit(&mut self, id: &[u8]) -> String {
        let decided = |admitted: bool, cause: &str| {
            format!("*5\r\n:{}\r\n${}\r\n{cause}\r\n:0\r\n:0\r\n:300\r\n", u8::from(admitted), cause.len())
        };
        if self.virtue != Virtue::Forgetful && self.live.contains(id) {
            return decided(true, "duplicate");
        }
        let now = self.clock.now();
        while self.log.front().is_some_and(|at| at + 1_000_000_000 <= now) {
            self.log.pop_front();
        }
        // Asked again, a refusal is repeated, as callgate does for two seconds.
        if self.log.len() >= self.limit || self.refused.contains(id) {
            self.refused.insert(id.to_vec());
            return decided(false, "cps");
        }
        self.log.push_back(now);
        self.live.insert(id.to_vec());
        decided(true, "ok")
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, book: Rc<RefCell<Book>>) {
    let (mut input, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
        input.extend_from_slice(&buffer[..count]);
        let mut output = String::new();
        while let Some((question, used)) = command(&input) {
            input.drain(..used);
            let mut book = book.borrow_mut();
            output += &book.answer(&question);
            let admission = question.first().is_some_and(|verb| verb == b"ADMIT");
            if admission && book.virtue == Virtue::HangsUpOnce && !std::mem::replace(&mut book.hung_up, true) {
                return;
            }
        }
        if stream.write_all(output.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The first command of `input`, if it is whole: an array of bulk strings.
fn command(input: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (count, mut used) = head(input, 0, b'*')?;
    let mut parts = Vec::new();
    for _ in 0..count {
        let (length, from) = head(input, used, b'$')?;
        used = from + length + 2;
        parts.push(input.get(..used)?[from..from + length].to_vec());
    }
    Some((parts, used))
}

/// The number behind a type's letter, and where its line ends.
fn head(input: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let rest = input.get(at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    assert_eq!(rest[0], kind, "a command is an array of bulk strings");
    let number = std::str::from_utf8(&rest[1..end]).unwrap().parse().unwrap();
    Some((number, at + end + 2))
}
