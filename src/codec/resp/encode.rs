//! Commands to bytes: for tests, fuzzing, and whoever wants to speak to a gate from Rust.
//!
//! What [`Command::parse`](super::Command::parse) reads from an encoded command is that command again.

use super::command::{ClientCommand, Command, CommandQuery, DecideForm};
use super::reply;
use crate::admission::{Admit, Kind, Request};

/// Appends `args` as an array of bulk strings.
pub fn args(out: &mut Vec<u8>, args: &[&[u8]]) {
    reply::array(out, args.len());
    for arg in args {
        reply::bulk(out, arg);
    }
}

/// Words that are borrowed or made on the way.
#[derive(Default)]
struct Words(Vec<Vec<u8>>);

impl Words {
    fn of(words: &[&[u8]]) -> Self {
        Self(words.iter().map(|word| word.to_vec()).collect())
    }

    fn with(mut self, word: &[u8]) -> Self {
        self.0.push(word.to_vec());
        self
    }

    fn option(self, name: &str, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.with(name.as_bytes()).with(value),
            None => self,
        }
    }

    fn number(self, name: &str, value: Option<u64>) -> Self {
        let text = value.map(|value| value.to_string());
        self.option(name, text.as_deref().map(str::as_bytes))
    }

    fn flag(self, name: &str, set: bool) -> Self {
        if set { self.with(name.as_bytes()) } else { self }
    }
}

fn admit(admit: &Admit<'_>, form: DecideForm) -> Words {
    let verb: &[u8] = match form {
        DecideForm::Bool => b"ADMIT.BOOL",
        DecideForm::Full | DecideForm::Known => b"ADMIT",
    };
    let kind: Option<&[u8]> = match admit.kind {
        Kind::Call => None,
        Kind::Registration => Some(b"registration"),
    };
    Words::of(&[verb, admit.id.bytes()])
        .option("TRUNK", admit.trunk.map(|name| name.bytes()))
        .option("TENANT", admit.tenant.map(|name| name.bytes()))
        .option("KIND", kind)
        .flag("WEBRTC", admit.webrtc)
        .option("TYPE", admit.license_type.map(|name| name.bytes()))
        .number("UNITS", (admit.units != 1).then(|| u64::from(admit.units)))
        .number("SEQ", admit.seq.map(u64::from))
        .flag("EMERGENCY", admit.emergency)
        .flag("PRIORITY", admit.priority)
        .number("TTL", admit.ttl_s.map(u64::from))
        .flag("ENCRYPTED", admit.encrypted)
        .option("PROXY", admit.proxy.map(|name| name.bytes()))
        .number("DEADLINE", admit.deadline.map(|deadline| deadline.0))
}

fn request(request: &Request<'_>, form: DecideForm) -> Words {
    match request {
        Request::Admit(asked) => admit(asked, form),
        Request::Confirm { id, seq, ttl_s } => {
            Words::of(&[b"CONFIRM", id.bytes()]).number("SEQ", seq.map(u64::from)).number("TTL", ttl_s.map(u64::from))
        }
        Request::Release { id, seq } => Words::of(&[b"RELEASE", id.bytes()]).number("SEQ", seq.map(u64::from)),
        Request::Refresh { id } => Words::of(&[b"REFRESH", id.bytes()]),
    }
}

fn client(client: &ClientCommand<'_>) -> Words {
    let words: &[&[u8]] = match client {
        ClientCommand::Id => &[b"ID"],
        ClientCommand::SetName(name) => &[b"SETNAME", name],
        ClientCommand::GetName => &[b"GETNAME"],
        ClientCommand::SetInfo => &[b"SETINFO"],
        ClientCommand::Info => &[b"INFO"],
        ClientCommand::List => &[b"LIST"],
        ClientCommand::Ignored => &[b"NO-TOUCH"],
        ClientCommand::ReplyOn => &[b"REPLY", b"ON"],
    };
    words.iter().fold(Words::of(&[b"CLIENT"]), |all, word| all.with(word))
}

fn command_query(query: CommandQuery) -> Words {
    let words = Words::of(&[b"COMMAND"]);
    match query {
        CommandQuery::List => words,
        CommandQuery::Count => words.with(b"COUNT"),
        CommandQuery::Docs => words.with(b"DOCS"),
        CommandQuery::Info(count) => (0..count).fold(words.with(b"INFO"), |all, _| all.with(b"x")),
    }
}

/// Appends a command as an array of bulk strings.
pub fn command(out: &mut Vec<u8>, command: &Command<'_, '_>) {
    let words = match command {
        Command::Decide(asked, form) => request(asked, *form),
        Command::Refresh(ids) => ids.ids().fold(Words::of(&[b"REFRESH"]), |all, id| all.with(id.bytes())),
        Command::Proxy { name, epoch } => Words::of(&[b"PROXY", name.bytes()]).with(epoch.to_string().as_bytes()),
        Command::ResyncBegin(proxy) => Words::of(&[b"RESYNC", b"BEGIN", proxy.bytes()]),
        Command::ResyncAdd(token, ids) => {
            let words = Words::of(&[b"RESYNC", b"ADD"]).with(token.0.to_string().as_bytes());
            ids.ids().fold(words, |all, id| all.with(id.bytes()))
        }
        Command::ResyncEnd(token) => Words::of(&[b"RESYNC", b"END"]).with(token.0.to_string().as_bytes()),
        Command::ResyncAbort(token) => Words::of(&[b"RESYNC", b"ABORT"]).with(token.0.to_string().as_bytes()),
        Command::Status => Words::of(&[b"STATUS"]),
        Command::Info(section) => section.iter().fold(Words::of(&[b"INFO"]), |all, word| all.with(word)),
        Command::Ping(text) => text.iter().fold(Words::of(&[b"PING"]), |all, word| all.with(word)),
        Command::Echo(text) => Words::of(&[b"ECHO", text]),
        Command::Hello(hello) => {
            let words = Words::of(&[b"HELLO"]);
            let words = hello.version.iter().fold(words, |all, version| all.with(version.to_string().as_bytes()));
            let words =
                hello.auth.iter().fold(words, |all, (user, password)| all.with(b"AUTH").with(user).with(password));
            words.option("SETNAME", hello.name)
        }
        Command::Auth { user, password } => {
            user.iter().fold(Words::of(&[b"AUTH"]), |all, user| all.with(user)).with(password)
        }
        Command::Select(number) => Words::of(&[b"SELECT"]).with(number.to_string().as_bytes()),
        Command::Client(asked) => client(asked),
        Command::Command(query) => command_query(*query),
        Command::ConfigGet => Words::of(&[b"CONFIG", b"GET", b"*"]),
        Command::Quit => Words::of(&[b"QUIT"]),
        Command::Reset => Words::of(&[b"RESET"]),
    };
    let borrowed: Vec<&[u8]> = words.0.iter().map(Vec::as_slice).collect();
    args(out, &borrowed);
}
