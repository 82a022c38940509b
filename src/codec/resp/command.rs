//! Gives one command's arguments their meaning.

use super::super::excerpt::Excerpt;
use super::command_error::CommandError;
use super::options;
use crate::admission::{CallId, Name, Request, ResyncToken};

/// In which form a decided request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecideForm {
    /// `ADMIT`: the array of five.
    Full,
    /// `ADMIT.BOOL`: one integer.
    Bool,
    /// `CONFIRM`, `RELEASE`: one integer.
    Known,
}

/// The ids of a `REFRESH` or a `RESYNC ADD`: each was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdList<'s, 'a>(&'s [&'a [u8]]);

impl<'s, 'a> IdList<'s, 'a> {
    fn checked(ids: &'s [&'a [u8]]) -> Result<Self, CommandError> {
        for bytes in ids {
            options::id(bytes)?;
        }
        Ok(Self(ids))
    }

    /// The ids, in order.
    pub fn ids(self) -> impl Iterator<Item = CallId<'a>> + 's {
        self.0.iter().filter_map(|bytes| CallId::new(bytes).ok())
    }
}

/// `HELLO [2|3 [AUTH user password] [SETNAME name]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hello<'a> {
    /// The protocol asked for, as sent: 2 and 3 exist. `None` keeps the current one.
    pub version: Option<u64>,
    /// User and password.
    pub auth: Option<(&'a [u8], &'a [u8])>,
    /// The connection's name.
    pub name: Option<&'a [u8]>,
}

/// `CLIENT ...`: what client libraries say about themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCommand<'a> {
    /// The connection's number.
    Id,
    /// Names the connection.
    SetName(&'a [u8]),
    /// Tells that name.
    GetName,
    /// Library name and version: accepted, not kept.
    SetInfo,
    /// One line about this connection.
    Info,
    /// The same (only this connection is listed).
    List,
    /// `NO-EVICT`, `NO-TOUCH`: nothing to do.
    Ignored,
    /// `REPLY`: `ON` is how it is; anything else is refused, since a skipped reply is a lost decision.
    ReplyOn,
}

/// `COMMAND ...`: what client libraries ask to learn the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandQuery {
    /// All of them.
    List,
    /// How many.
    Count,
    /// Documentation: none over this protocol.
    Docs,
    /// About so many named commands: nothing.
    Info(usize),
}

/// One command, borrowed from the read buffer (`'a`) and from the argument list (`'s`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'s, 'a> {
    /// The gate decides, in a batch with its neighbors.
    Decide(Request<'a>, DecideForm),
    /// `REFRESH id [id ...]`.
    Refresh(IdList<'s, 'a>),
    /// `PROXY name epoch`.
    Proxy {
        /// The proxy.
        name: Name<'a>,
        /// Its epoch.
        epoch: u64,
    },
    /// `RESYNC BEGIN proxy`.
    ResyncBegin(Name<'a>),
    /// `RESYNC ADD token id ...`.
    ResyncAdd(ResyncToken, IdList<'s, 'a>),
    /// `RESYNC END token`.
    ResyncEnd(ResyncToken),
    /// `RESYNC ABORT token`.
    ResyncAbort(ResyncToken),
    /// `STATUS`.
    Status,
    /// `INFO [section]`.
    Info(Option<&'a [u8]>),
    /// `PING [text]`.
    Ping(Option<&'a [u8]>),
    /// `ECHO text`.
    Echo(&'a [u8]),
    /// `HELLO ...`.
    Hello(Hello<'a>),
    /// `AUTH [user] password`.
    Auth {
        /// The user, if given.
        user: Option<&'a [u8]>,
        /// The password.
        password: &'a [u8],
    },
    /// `SELECT n`: any database number; there is one world.
    Select(u64),
    /// `CLIENT ...`.
    Client(ClientCommand<'a>),
    /// `COMMAND ...`.
    Command(CommandQuery),
    /// `CONFIG GET ...`: nothing is configured this way.
    ConfigGet,
    /// `QUIT`.
    Quit,
    /// `RESET`.
    Reset,
}

const DB: &str = "a whole number";
const TOKEN: &str = "the number that RESYNC BEGIN answered";
const EPOCH: &str = "a whole number from 0 to 18446744073709551615 that changes at each start of the proxy";

fn token(text: &[u8]) -> Result<ResyncToken, CommandError> {
    options::number("token", text, TOKEN).map(ResyncToken)
}

impl<'s, 'a> Command<'s, 'a> {
    /// The command in these arguments.
    ///
    /// # Errors
    /// If it can't be understood; says what was found and what is accepted.
    #[inline]
    pub fn parse(args: &'s [&'a [u8]]) -> Result<Self, CommandError> {
        let Some((&verb, rest)) = args.split_first() else {
            return Err(CommandError::UnknownCommand { found: Excerpt::of(b"") });
        };
        // What proxies send all day stands first.
        if verb.eq_ignore_ascii_case(b"ADMIT") {
            return Self::admit(rest, DecideForm::Full);
        }
        if verb.eq_ignore_ascii_case(b"RELEASE") {
            let (id, options) = first(rest, "RELEASE id [SEQ n] [REASON text]")?;
            let id = options::id(id)?;
            let seq = options::release(options.iter().copied())?;
            return Ok(Self::Decide(Request::Release { id, seq }, DecideForm::Known));
        }
        if verb.eq_ignore_ascii_case(b"CONFIRM") {
            let (id, options) = first(rest, "CONFIRM id [SEQ n] [TTL s]")?;
            let id = options::id(id)?;
            let (seq, ttl_s) = options::confirm(options.iter().copied())?;
            return Ok(Self::Decide(Request::Confirm { id, seq, ttl_s }, DecideForm::Known));
        }
        if verb.eq_ignore_ascii_case(b"ADMIT.BOOL") {
            return Self::admit(rest, DecideForm::Bool);
        }
        if verb.eq_ignore_ascii_case(b"REFRESH") {
            first(rest, "REFRESH id [id ...]")?;
            return Ok(Self::Refresh(IdList::checked(rest)?));
        }
        Self::seldom(verb, rest)
    }

    fn admit(rest: &[&'a [u8]], form: DecideForm) -> Result<Self, CommandError> {
        let (id, options) = first(
            rest,
            "ADMIT id [TRUNK name] [TENANT name] [KIND call|registration] [WEBRTC] [TYPE license-type] [UNITS n] [SEQ n] \
             [EMERGENCY] [PRIORITY] [TTL s] [ENCRYPTED] [PROXY name] [DEADLINE unix-ms]",
        )?;
        let admit = options::admit(options::id(id)?, options.iter().copied())?;
        Ok(Self::Decide(Request::Admit(admit), form))
    }

    fn seldom(verb: &'a [u8], rest: &'s [&'a [u8]]) -> Result<Self, CommandError> {
        let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
        if is("PING") {
            return match rest {
                [] => Ok(Self::Ping(None)),
                [text] => Ok(Self::Ping(Some(text))),
                _ => Err(arity(rest, "PING [text]")),
            };
        }
        if is("ECHO") {
            return match rest {
                [text] => Ok(Self::Echo(text)),
                _ => Err(arity(rest, "ECHO text")),
            };
        }
        if is("PROXY") {
            return match rest {
                [proxy, epoch] => Ok(Self::Proxy {
                    name: options::name("the proxy's name", proxy)?,
                    epoch: options::number("epoch", epoch, EPOCH)?,
                }),
                _ => Err(arity(rest, "PROXY name epoch")),
            };
        }
        if is("RESYNC") {
            return Self::resync(rest);
        }
        if is("STATUS") {
            return plain(rest, Self::Status, "STATUS");
        }
        if is("INFO") {
            return match rest {
                [] => Ok(Self::Info(None)),
                [section] => Ok(Self::Info(Some(section))),
                _ => Err(arity(rest, "INFO [section]")),
            };
        }
        if is("HELLO") {
            return Self::hello(rest);
        }
        if is("AUTH") {
            return match rest {
                [password] => Ok(Self::Auth { user: None, password }),
                [user, password] => Ok(Self::Auth { user: Some(user), password }),
                _ => Err(arity(rest, "AUTH [user] password")),
            };
        }
        if is("SELECT") {
            return match rest {
                [number] => Ok(Self::Select(options::number("database", number, DB)?)),
                _ => Err(arity(rest, "SELECT number")),
            };
        }
        if is("CLIENT") {
            return Self::client(rest);
        }
        if is("COMMAND") {
            return Self::query(rest);
        }
        if is("CONFIG") {
            return match rest.first() {
                Some(sub) if sub.eq_ignore_ascii_case(b"GET") => Ok(Self::ConfigGet),
                Some(sub) => Err(subcommand("CONFIG", sub, "GET")),
                None => Err(arity(rest, "CONFIG GET name")),
            };
        }
        if is("QUIT") {
            return plain(rest, Self::Quit, "QUIT");
        }
        if is("RESET") {
            return plain(rest, Self::Reset, "RESET");
        }
        Err(CommandError::UnknownCommand { found: Excerpt::of(verb) })
    }

    fn resync(rest: &'s [&'a [u8]]) -> Result<Self, CommandError> {
        let (sub, rest) =
            first(rest, "RESYNC BEGIN proxy, RESYNC ADD token id ..., RESYNC END token, RESYNC ABORT token")?;
        let is = |name: &str| sub.eq_ignore_ascii_case(name.as_bytes());
        if is("BEGIN") {
            let [proxy] = rest else { return Err(arity(rest, "RESYNC BEGIN proxy")) };
            return Ok(Self::ResyncBegin(options::name("the proxy's name", proxy)?));
        }
        if is("ADD") {
            let [open, ids @ ..] = rest else { return Err(arity(rest, "RESYNC ADD token id [id ...]")) };
            if ids.is_empty() {
                return Err(arity(rest, "RESYNC ADD token id [id ...]"));
            }
            return Ok(Self::ResyncAdd(token(open)?, IdList::checked(ids)?));
        }
        if is("END") {
            let [open] = rest else { return Err(arity(rest, "RESYNC END token")) };
            return Ok(Self::ResyncEnd(token(open)?));
        }
        if is("ABORT") {
            let [open] = rest else { return Err(arity(rest, "RESYNC ABORT token")) };
            return Ok(Self::ResyncAbort(token(open)?));
        }
        Err(subcommand("RESYNC", sub, "BEGIN, ADD, END, ABORT"))
    }

    fn hello(rest: &[&'a [u8]]) -> Result<Self, CommandError> {
        const USAGE: &str = "HELLO [2|3 [AUTH user password] [SETNAME name]]";
        let Some((version, mut rest)) = rest.split_first() else { return Ok(Self::Hello(Hello::default())) };
        let version = options::number("protocol version", version, "2 or 3")?;
        let mut hello = Hello { version: Some(version), ..Hello::default() };
        loop {
            match rest {
                [] => return Ok(Self::Hello(hello)),
                [option, user, password, more @ ..] if option.eq_ignore_ascii_case(b"AUTH") => {
                    hello.auth = Some((user, password));
                    rest = more;
                }
                [option, name, more @ ..] if option.eq_ignore_ascii_case(b"SETNAME") => {
                    hello.name = Some(name);
                    rest = more;
                }
                _ => return Err(arity(rest, USAGE)),
            }
        }
    }

    fn client(rest: &[&'a [u8]]) -> Result<Self, CommandError> {
        const ALL: &str = "ID, SETNAME, GETNAME, SETINFO, INFO, LIST, NO-EVICT, NO-TOUCH, REPLY ON";
        let (sub, rest) = first(rest, "CLIENT subcommand")?;
        let is = |name: &str| sub.eq_ignore_ascii_case(name.as_bytes());
        let command = if is("ID") {
            ClientCommand::Id
        } else if is("SETNAME") {
            let [name] = rest else { return Err(arity(rest, "CLIENT SETNAME name")) };
            ClientCommand::SetName(name)
        } else if is("GETNAME") {
            ClientCommand::GetName
        } else if is("SETINFO") {
            ClientCommand::SetInfo
        } else if is("INFO") {
            ClientCommand::Info
        } else if is("LIST") {
            ClientCommand::List
        } else if is("NO-EVICT") || is("NO-TOUCH") {
            ClientCommand::Ignored
        } else if is("REPLY") {
            match rest {
                [how] if how.eq_ignore_ascii_case(b"ON") => ClientCommand::ReplyOn,
                [how, ..] => return Err(subcommand("CLIENT REPLY", how, "ON: a skipped reply is a lost decision")),
                [] => return Err(arity(rest, "CLIENT REPLY ON")),
            }
        } else {
            return Err(subcommand("CLIENT", sub, ALL));
        };
        Ok(Self::Client(command))
    }

    fn query(rest: &[&'a [u8]]) -> Result<Self, CommandError> {
        let Some((sub, rest)) = rest.split_first() else { return Ok(Self::Command(CommandQuery::List)) };
        let is = |name: &str| sub.eq_ignore_ascii_case(name.as_bytes());
        let query = if is("COUNT") {
            CommandQuery::Count
        } else if is("DOCS") {
            CommandQuery::Docs
        } else if is("INFO") {
            if rest.is_empty() { CommandQuery::List } else { CommandQuery::Info(rest.len()) }
        } else if is("LIST") {
            CommandQuery::List
        } else {
            return Err(subcommand("COMMAND", sub, "COUNT, DOCS, INFO, LIST"));
        };
        Ok(Self::Command(query))
    }
}

fn first<'s, 'a>(args: &'s [&'a [u8]], usage: &'static str) -> Result<(&'a [u8], &'s [&'a [u8]]), CommandError> {
    match args.split_first() {
        Some((first, rest)) => Ok((first, rest)),
        None => Err(arity(args, usage)),
    }
}

fn plain<'s, 'a>(
    args: &[&[u8]],
    command: Command<'s, 'a>,
    usage: &'static str,
) -> Result<Command<'s, 'a>, CommandError> {
    if args.is_empty() { Ok(command) } else { Err(arity(args, usage)) }
}

const fn arity(args: &[&[u8]], usage: &'static str) -> CommandError {
    CommandError::Arity { found: args.len(), usage }
}

fn subcommand(command: &'static str, found: &[u8], accepted: &'static str) -> CommandError {
    CommandError::UnknownSubcommand { command, found: Excerpt::of(found), accepted }
}
