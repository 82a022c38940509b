//! What a RESP connection says and is answered: everything but the socket.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::super::decision_log;
use super::super::peers::Peer;
use super::super::shared::Shared;
use super::{info, slow};
use crate::admission::{Answer, ProxyEpoch, Request};
use crate::codec::resp::{
    Args, ClientCommand, Command, CommandError, CommandQuery, DecideForm, Hello, IdList, Limits, Progress, Protocol,
    ProtocolError, frame, reply,
};
use crate::shell::telemetry::{ClosedConnection, Command as Counted, FrontEnd, FrontEndCounters};
use crate::units::Now;

/// Requests that are decided together.
const BATCH: usize = 64;

/// With so many bytes of answers waiting, no more requests are looked at.
const OUTPUT_HIGH: usize = 256 * 1024;

/// Wrong passwords before a connection is closed.
const FAILURES_MAX: u32 = 5;

/// What a connection may send before it told the password.
const BEFORE_AUTH: Limits =
    Limits { bulk_bytes_max: 1024, elements_max: 16, inline_bytes_max: 4096, request_bytes_max: 8192 };

/// The longest name that a connection may give itself.
const NAME_MAX: usize = 128;

/// What comes after the input was looked at.
pub(super) enum Step {
    /// More bytes must come; before there are `needed`, looking again is of no use.
    More { needed: usize },
    /// The answers must leave first.
    OutputFull,
    /// Something that must not run on the reactor; its answer comes next.
    Slow(slow::Job),
    /// Wait before anything else of this connection.
    Penalty(Duration),
    /// The connection ends.
    Close(ClosedConnection),
}

/// Requests that wait to be decided together, borrowed from the input.
#[derive(Default)]
struct Batch<'a> {
    requests: SmallVec<[Request<'a>; BATCH]>,
    forms: SmallVec<[DecideForm; BATCH]>,
}

/// How many of each, until they are counted once.
#[derive(Default)]
struct Seen {
    admits: u64,
    confirms: u64,
    releases: u64,
    refreshes: u64,
}

/// A connection's side of the talk.
pub(super) struct Session {
    shared: Arc<Shared>,
    id: u64,
    peer_name: String,
    name: Box<[u8]>,
    protocol: Protocol,
    authenticated: bool,
    failures: u32,
}

impl Session {
    pub(super) fn new(shared: &Arc<Shared>, peer: &Peer) -> Self {
        Self {
            shared: Arc::clone(shared),
            id: peer.id,
            peer_name: peer.stream.peer_name(),
            name: Box::default(),
            protocol: Protocol::Resp2,
            authenticated: shared.access.load().resp_password.is_none(),
            failures: 0,
        }
    }

    /// Looks at as many commands as the input holds and appends their answers. Returns how many bytes were understood,
    /// and what comes next.
    pub(super) fn process(&mut self, shared: &Shared, input: &[u8], now: Now, out: &mut Vec<u8>) -> (usize, Step) {
        let counters = shared.context.counters.front(FrontEnd::Resp);
        let mut batch = Batch::default();
        let mut args = Args::new();
        let mut seen = Seen::default();
        let mut at = 0;
        let step = loop {
            let limits = if self.authenticated { &shared.limits.resp } else { &BEFORE_AUTH };
            match frame::next(input.get(at..).unwrap_or(&[]), limits, &mut args) {
                Ok(Progress::Complete { consumed }) => at += consumed,
                Ok(Progress::Incomplete { needed }) => break Step::More { needed },
                Err(error) => {
                    self.decide(&mut batch, now, out);
                    counters.protocol_errors.inc();
                    reply::error(out, "ERR", &format_args!("Protocol error: {error}"));
                    break Step::Close(reason(&error));
                }
            }
            if args.is_empty() {
                continue;
            }
            match Command::parse(&args) {
                Ok(Command::Decide(request, form)) if self.authenticated => {
                    seen.count(&request);
                    batch.requests.push(request);
                    batch.forms.push(form);
                    if batch.requests.len() == BATCH {
                        self.decide(&mut batch, now, out);
                    }
                }
                other => {
                    self.decide(&mut batch, now, out);
                    if let Some(step) = self.answer(other, now, out, &mut seen, counters) {
                        break step;
                    }
                }
            }
            if out.len() >= OUTPUT_HIGH {
                break Step::OutputFull;
            }
        };
        self.decide(&mut batch, now, out);
        seen.tell(counters, || shared.context.clock.tick().nanos_since(now.tick));
        (at, step)
    }

    /// Decides what waits, and appends the answers.
    #[inline]
    fn decide(&self, batch: &mut Batch<'_>, now: Now, out: &mut Vec<u8>) {
        if batch.requests.is_empty() {
            return;
        }
        let mut forms = batch.forms.iter();
        let log = decision_log::on();
        let mut asked = batch.requests.iter();
        self.shared.context.gate.run(&batch.requests, now, |answer| {
            if log && let Some(request) = asked.next() {
                decision_log::tell(request, &answer);
            }
            reply::answer(out, &answer, forms.next().copied().unwrap_or(DecideForm::Full));
        });
        batch.requests.clear();
        batch.forms.clear();
    }

    /// Answers one command that isn't decided in a batch, or what is wrong with it.
    fn answer(
        &mut self,
        command: Result<Command<'_, '_>, CommandError>,
        now: Now,
        out: &mut Vec<u8>,
        seen: &mut Seen,
        counters: &FrontEndCounters,
    ) -> Option<Step> {
        let command = match command {
            Ok(command) => command,
            Err(error) => {
                counters.protocol_errors.inc();
                reply::error(out, "ERR", &error);
                return None;
            }
        };
        let open = matches!(command, Command::Auth { .. } | Command::Hello(_) | Command::Quit | Command::Reset);
        if !self.authenticated && !open {
            counters.auth_failures.inc();
            reply::error(out, "NOAUTH", &"Authentication required: AUTH password");
            return None;
        }
        counters.commands(counted(&command), 1);
        let gate = &self.shared.context.gate;
        match command {
            // Only before authentication, which was looked at above.
            Command::Decide(..) => {}
            Command::Refresh(ids) => {
                let known = self.refresh(ids, now, seen);
                reply::integer(out, known);
            }
            Command::Proxy { name, epoch } => match gate.proxy_epoch(name, epoch, now) {
                ProxyEpoch::New => {
                    self.shared.tell_epoch(name.bytes(), epoch);
                    reply::simple(out, "OK");
                }
                ProxyEpoch::Known => reply::simple(out, "OK"),
                ProxyEpoch::Full => {
                    reply::error(out, "ERR", &"too many proxies are known; see the limit of proxies");
                }
            },
            Command::ResyncBegin(proxy) => match gate.resync_begin(proxy, now) {
                Ok(token) => reply::integer(out, token.0),
                Err(error) => reply::error(out, "ERR", &error),
            },
            Command::ResyncAdd(token, ids) => {
                let mut added = 0;
                let result = ids.ids().try_for_each(|id| gate.resync_add(token, id, now).map(|()| added += 1));
                match result {
                    Ok(()) => reply::integer(out, added),
                    Err(error) => reply::error(out, "ERR", &error),
                }
            }
            Command::ResyncAbort(token) => match gate.resync_abort(token, now) {
                Ok(()) => {
                    self.shared.tell_resync(None);
                    reply::simple(out, "OK");
                }
                Err(error) => reply::error(out, "ERR", &error),
            },
            Command::ResyncEnd(token) => return Some(Step::Slow(slow::Job::ResyncEnd(token))),
            Command::Status => return Some(Step::Slow(slow::Job::Status)),
            Command::Info(section) => {
                return Some(Step::Slow(slow::Job::Info(section.map(<[u8]>::to_ascii_lowercase))));
            }
            Command::Ping(None) => reply::simple(out, "PONG"),
            Command::Ping(Some(text)) | Command::Echo(text) => reply::bulk(out, text),
            Command::Hello(hello) => return self.hello(&hello, out, counters),
            Command::Auth { user, password } => return self.auth(user, password, out, counters),
            Command::Client(client) => self.client(&client, out),
            Command::Command(CommandQuery::List) => info::commands(out),
            Command::Command(CommandQuery::Count) => reply::integer(out, info::command_count()),
            Command::Command(CommandQuery::Docs) | Command::ConfigGet => reply::map(out, 0, self.protocol),
            Command::Command(CommandQuery::Info(count)) => {
                reply::array(out, count);
                (0..count).for_each(|_| reply::null(out, self.protocol));
            }
            Command::Select(_) => reply::simple(out, "OK"),
            Command::Quit => {
                reply::simple(out, "OK");
                return Some(Step::Close(ClosedConnection::Client));
            }
            Command::Reset => {
                self.protocol = Protocol::Resp2;
                self.name = Box::default();
                self.authenticated = self.shared.access.load().resp_password.is_none();
                reply::simple(out, "RESET");
            }
        }
        None
    }

    fn refresh(&self, ids: IdList<'_, '_>, now: Now, seen: &mut Seen) -> u64 {
        let mut requests: SmallVec<[Request<'_>; BATCH]> = SmallVec::new();
        let mut known = 0;
        let mut run = |requests: &mut SmallVec<[Request<'_>; BATCH]>| {
            self.shared.context.gate.run(requests, now, |answer| match answer {
                Answer::Known(yes) => known += u64::from(yes),
                Answer::Decision(_) => {}
            });
            requests.clear();
        };
        for id in ids.ids() {
            seen.refreshes += 1;
            requests.push(Request::Refresh { id });
            if requests.len() == BATCH {
                run(&mut requests);
            }
        }
        run(&mut requests);
        known
    }

    fn hello(&mut self, hello: &Hello<'_>, out: &mut Vec<u8>, counters: &FrontEndCounters) -> Option<Step> {
        let protocol = match hello.version {
            None => self.protocol,
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(other) => {
                reply::error(
                    out,
                    "NOPROTO",
                    &format_args!("unsupported protocol version {other}; accepted are 2 and 3"),
                );
                return None;
            }
        };
        if let Some((user, password)) = hello.auth {
            let before = out.len();
            let step = self.auth(Some(user), password, out, counters);
            if step.is_some() || !self.authenticated {
                return step;
            }
            // The map answers for both.
            out.truncate(before);
        }
        if !self.authenticated {
            reply::error(
                out,
                "NOAUTH",
                &"HELLO must be called with the client already authenticated, or as HELLO 3 AUTH default password",
            );
            return None;
        }
        if let Some(name) = hello.name
            && !self.set_name(name, out)
        {
            return None;
        }
        self.protocol = protocol;
        info::hello(out, protocol, self.id);
        None
    }

    fn auth(
        &mut self,
        user: Option<&[u8]>,
        password: &[u8],
        out: &mut Vec<u8>,
        counters: &FrontEndCounters,
    ) -> Option<Step> {
        let access = self.shared.access.load();
        let Some(expected) = &access.resp_password else {
            reply::error(
                out,
                "ERR",
                &"AUTH is called, but this sidecar has no password: leave it out, or set listen.password_file",
            );
            return None;
        };
        // Both are always looked at.
        let matches = expected.matches(password) & user.is_none_or(|user| user == b"default");
        if matches {
            self.authenticated = true;
            self.failures = 0;
            reply::simple(out, "OK");
            return None;
        }
        self.authenticated = false;
        self.failures += 1;
        counters.auth_failures.inc();
        if let Some(attempts) = self.shared.wrong_passwords.tell(self.shared.context.clock.tick()) {
            tracing::warn!(peer = self.peer_name, attempts, "wrong password");
        }
        reply::error(out, "WRONGPASS", &"invalid username-password pair; the user is 'default', or left out");
        if self.failures >= FAILURES_MAX {
            return Some(Step::Close(ClosedConnection::Auth));
        }
        Some(Step::Penalty(Duration::from_millis(100) * self.failures))
    }

    /// Names the connection; `false`: an error was answered.
    fn set_name(&mut self, name: &[u8], out: &mut Vec<u8>) -> bool {
        if name.len() > NAME_MAX || !name.iter().all(u8::is_ascii_graphic) {
            reply::error(
                out,
                "ERR",
                &format_args!("the connection's name has other characters than visible ASCII, or more than {NAME_MAX}"),
            );
            return false;
        }
        self.name = name.into();
        true
    }

    fn client(&mut self, client: &ClientCommand<'_>, out: &mut Vec<u8>) {
        match client {
            ClientCommand::Id => reply::integer(out, self.id),
            ClientCommand::SetName(name) => {
                if self.set_name(name, out) {
                    reply::simple(out, "OK");
                }
            }
            ClientCommand::GetName if self.name.is_empty() => reply::null(out, self.protocol),
            ClientCommand::GetName => reply::bulk(out, &self.name),
            ClientCommand::SetInfo | ClientCommand::Ignored | ClientCommand::ReplyOn => reply::simple(out, "OK"),
            ClientCommand::Info | ClientCommand::List => {
                let resp = match self.protocol {
                    Protocol::Resp2 => 2,
                    Protocol::Resp3 => 3,
                };
                let name = String::from_utf8_lossy(&self.name);
                let line = format!("id={} addr={} name={name} db=0 resp={resp}\n", self.id, self.peer_name);
                reply::bulk(out, line.as_bytes());
            }
        }
    }
}

impl Seen {
    fn count(&mut self, request: &Request<'_>) {
        match request {
            Request::Admit(_) => self.admits += 1,
            Request::Confirm { .. } => self.confirms += 1,
            Request::Release { .. } => self.releases += 1,
            Request::Refresh { .. } => self.refreshes += 1,
        }
    }

    fn tell(&self, counters: &FrontEndCounters, nanos: impl FnOnce() -> u64) {
        let decisions = self.admits + self.confirms + self.releases + self.refreshes;
        if decisions == 0 {
            return;
        }
        let counts =
            [(Counted::Admit, self.admits), (Counted::Confirm, self.confirms), (Counted::Release, self.releases)];
        for (command, times) in counts.into_iter().filter(|(_, times)| *times > 0) {
            counters.commands(command, times);
        }
        counters.decided(decisions, nanos());
    }
}

const fn counted(command: &Command<'_, '_>) -> Counted {
    match command {
        Command::Decide(..) => Counted::Admit,
        Command::Refresh(_) => Counted::Refresh,
        Command::Proxy { .. } => Counted::Proxy,
        Command::ResyncBegin(_) | Command::ResyncAdd(..) | Command::ResyncEnd(_) | Command::ResyncAbort(_) => {
            Counted::Resync
        }
        Command::Status | Command::Info(_) => Counted::Status,
        Command::Ping(_)
        | Command::Echo(_)
        | Command::Hello(_)
        | Command::Auth { .. }
        | Command::Select(_)
        | Command::Client(_)
        | Command::Command(_)
        | Command::Quit
        | Command::Reset => Counted::Connection,
        Command::ConfigGet => Counted::Other,
    }
}

const fn reason(error: &ProtocolError) -> ClosedConnection {
    match error {
        ProtocolError::RequestTooLong { .. }
        | ProtocolError::InlineTooLong { .. }
        | ProtocolError::InlineWords { .. } => ClosedConnection::TooLarge,
        ProtocolError::NotACommand { .. }
        | ProtocolError::Elements { .. }
        | ProtocolError::Nested
        | ProtocolError::NotABulk { .. }
        | ProtocolError::NullBulk
        | ProtocolError::BulkLength { .. }
        | ProtocolError::BulkEnd { .. }
        | ProtocolError::Quotes
        | ProtocolError::Http => ClosedConnection::Protocol,
    }
}
