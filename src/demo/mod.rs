//! `callgate demo`: the whole system on one host, for a newcomer and for machines.
//!
//! It starts this program's own subcommands as child processes, on loopback, on ports that the system chose, in a temporary
//! directory: a license manager with its own authority, licenses and a token, three sidecars with certificates of one cluster.
//! They register, find each other, and lend each other what they don't need, while calls come in over RESP, most of them at one
//! sidecar, and every few seconds at another one. It holds nothing of their inside: it starts, asks and counts.
//!
//! What must stay true: nothing that it started outlives it, however it ends; its directory goes with it, but after
//! `kill -9`, when the next demo removes it; the token is in no argument and in no environment. It ends with 0 only if no law
//! was broken, and takes for broken only what is proven.

mod arrivals;
mod caller;
mod child;
mod judge;
mod pace;
mod page;
mod say;
mod stage;
mod tally;
mod watch;
mod workspace;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::arrivals::{Arrivals, Plan};
use self::caller::{Called, Caller};
use self::child::{Child, Program};
use self::judge::Attempt;
use self::pace::Pace;
use self::say::{Look, Say};
use self::stage::{Hands, NAMES, Node, Stage};
use self::tally::{Summary, Tally};
use self::watch::Seen;
use self::workspace::Workspace;
use crate::cli::{DemoArgs, Failure, Format};
use crate::shell::clock::Clock;
use crate::units::Tick;

/// A little more than was bought comes, most of it at one sidecar, which could admit a third of it alone.
const PLAN: Plan = Plan { nodes: NAMES.len(), busy_rate: 300.0, quiet_rate: 10.0, shift: Duration::from_secs(6) };
/// Calls begin so long after all is ready.
const BREATH: Duration = Duration::from_millis(300);
/// How long a look at the sidecars may take; then the second shows none.
const LOOK_TIME: Duration = Duration::from_millis(900);
/// How long the calls may take to end.
const END_TIME: Duration = Duration::from_secs(20);

/// Runs it until its time is over, or a signal comes.
///
/// # Errors
/// If it can't be set up, or a law was broken.
pub fn run(args: &DemoArgs, format: Format) -> Result<(), Failure> {
    let machine = args.headless || format == Format::Json;
    let mut say = Say::new(machine, args.headless);
    let system = |error: std::io::Error| Failure::Refused(format!("the demo can't begin: {error}"));
    let mut pace = Pace::new().map_err(system)?;
    let parent = std::env::temp_dir();
    let workspace = Workspace::make(&parent).map_err(|error| {
        Failure::Refused(format!("the demo can't begin: no directory can be made in {}: {error}", parent.display()))
    })?;
    let program = Program::this(&workspace).map_err(system)?;
    let mut stage = Stage::default();
    let mut hands = Hands { workspace: &workspace, program: &program, pace: &mut pace, say: &mut say };
    let outcome = perform(&mut stage, &mut hands, args);
    let summary = ended(stage, &mut pace, outcome);
    drop(workspace);
    let summary = summary?;
    if machine {
        let text = serde_json::to_string(&summary).map_err(std::io::Error::other)?;
        // Nobody may be there to read it: then its exit code says all.
        std::io::Write::write_all(&mut std::io::stdout().lock(), format!("{text}\n").as_bytes())?;
    } else {
        say.text(&page::summary(&summary))?;
    }
    if summary.ok { Ok(()) } else { Err(Failure::Refused(summary.broken.join("\n"))) }
}

fn perform(stage: &mut Stage, hands: &mut Hands<'_>, args: &DemoArgs) -> Result<Summary, Failure> {
    let path = hands.workspace.path().display();
    hands.say.text(&format!(
        "callgate demo: a license manager, three sidecars for three SIP proxies, and calls.\n\
         All of it runs on this host, in {path}, and goes\nwhen the demo ends (Ctrl-C).\n\n"
    ))?;
    stage.set(hands)?;
    if hands.say.look != Look::Quiet {
        hands.say.text(&introduction(stage))?;
    }
    let mut calls = Calls::begin(stage, hands.pace, args.seed);
    let outcome = calls.go(stage, hands, args.seconds);
    let summary = calls.end(stage, hands.pace);
    outcome.map(|()| summary)
}

fn introduction(stage: &Stage) -> String {
    let Some(node) = stage.nodes.first() else { return String::new() };
    let (admin, socket) = (node.admin(), node.socket());
    let rate: u32 = stage.nodes.iter().map(|node| node.home).sum();
    format!(
        "\nLook inside while it runs, from another terminal:\n\n  redis-cli -s {} ADMIT my-own-call\n  curl -s http://{}/v1/status\n  \
         callgate cluster loans --admin {admin}\n  callgate license status --admin {admin}\n\n\
         They bought {rate} calls per second in sum, {} each. Now a little more than that is\n\
         offered, nearly all of it at one sidecar; after {} s the next one is the busy one.\n\
         A license that is lent is gone from its lender until it comes back: so no second\n\
         holds more calls than were bought, whatever gets lost on the way.\n",
        socket.display(),
        node.http,
        node.home,
        PLAN.shift.as_secs(),
        admin = admin.display(),
    )
}

/// Stops everything, whatever became of it.
fn ended(stage: Stage, pace: &mut Pace, outcome: Result<Summary, Failure>) -> Result<Summary, Failure> {
    let Stage { mut children, nodes, .. } = stage;
    drop(nodes);
    let mut outcome = outcome;
    let mut sidecars = children.split_off(children.len().min(1));
    for some in [&mut sidecars, &mut children] {
        let stubborn = child::stop(some, pace);
        if let (Ok(summary), false) = (&mut outcome, stubborn.is_empty()) {
            summary.broken.push(format!("{} did not stop when asked, and was killed", stubborn.join(", ")));
            summary.ok = false;
        }
    }
    outcome
}

/// The calls under way.
struct Calls {
    tally: Tally,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    stop: CancellationToken,
    callers: Vec<JoinHandle<Result<Called, String>>>,
    begin: Tick,
}

impl Calls {
    fn begin(stage: &Stage, pace: &Pace, seed: u64) -> Self {
        let homes: Vec<(&'static str, u32)> = stage.nodes.iter().map(|node| (node.name, node.home)).collect();
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let begin = Clock.tick().plus_nanos(u64::try_from(BREATH.as_nanos()).unwrap_or(0));
        let caller = |(place, node): (usize, &Node)| Caller {
            node: place,
            name: node.name.to_owned(),
            socket: node.socket(),
            arrivals: Arrivals::new(PLAN, place, seed),
            attempts: Arc::clone(&attempts),
        };
        let callers = stage.nodes.iter().enumerate().map(caller);
        let callers = callers.map(|caller| pace.runtime().spawn(caller.run(begin, stop.clone()))).collect();
        Self { tally: Tally::new(PLAN, &homes, seed), attempts, stop, callers, begin }
    }

    /// One second after the other, until the time is over, a signal comes, or something breaks.
    fn go(&mut self, stage: &mut Stage, hands: &mut Hands<'_>, seconds: Option<u32>) -> Result<(), Failure> {
        let mut second = 0;
        while seconds.is_none_or(|seconds| second < u64::from(seconds)) {
            second += 1;
            let end = self.begin.plus_secs(second);
            let left = Duration::from_nanos(end.nanos_since(Clock.tick()));
            if hands.pace.pause(left).is_err() {
                return Ok(());
            }
            let attempts = self.until(end);
            let Ok(seen) = hands.pace.run(look(&stage.nodes)) else {
                self.attempts.lock().extend(attempts);
                return Ok(());
            };
            let rows = self.tally.second(&attempts, &seen, Clock.tick());
            let dead = died(&mut stage.children);
            let silent = self.callers.iter().any(JoinHandle::is_finished);
            let whole = dead.is_empty() && !silent;
            dead.into_iter().for_each(|obituary| self.tally.broke(obituary));
            if !whole {
                return Ok(());
            }
            let so_far = self.tally.so_far();
            match hands.say.look {
                Look::Table => hands.say.redraw(&page::table(&rows, &so_far))?,
                Look::Lines => {
                    if second % page::HEADING_EVERY == 1 {
                        hands.say.text(&page::heading(&rows))?;
                    }
                    hands.say.text(&page::line(&rows, &so_far))?;
                }
                Look::Quiet => {}
            }
        }
        Ok(())
    }

    /// The attempts that were asked before that instant.
    fn until(&self, end: Tick) -> Vec<Attempt> {
        let mut attempts = self.attempts.lock();
        let (before, later) = attempts.drain(..).partition(|attempt| attempt.asked < end);
        *attempts = later;
        before
    }

    /// Ends all calls, and judges.
    fn end(mut self, stage: &Stage, pace: &mut Pace) -> Summary {
        self.stop.cancel();
        let mut called = Vec::new();
        for caller in self.callers {
            let ended = pace.run(async { tokio::time::timeout(END_TIME, caller).await });
            called.push(match ended {
                Ok(Ok(Ok(Ok(called)))) => called,
                Ok(Ok(Ok(Err(why)))) => {
                    self.tally.broke(format!("calls could not go on: {why}"));
                    Called::default()
                }
                Ok(Ok(Err(error))) => {
                    self.tally.broke(format!("calls could not go on: {error}"));
                    Called::default()
                }
                Ok(Err(_)) | Err(_) => {
                    self.tally.broke("the end of the calls was not waited for".to_owned());
                    Called::default()
                }
            });
        }
        let seen = pace.run(look(&stage.nodes)).unwrap_or_default();
        let ends: Vec<(Called, Option<Seen>)> =
            called.into_iter().zip(seen.into_iter().chain(std::iter::repeat(None))).collect();
        let attempts = std::mem::take(&mut *self.attempts.lock());
        self.tally.finish(&attempts, &ends)
    }
}

/// What each sidecar tells; `None` of one that doesn't in time.
async fn look(nodes: &[Node]) -> Vec<Option<Seen>> {
    let looks: Vec<_> = nodes
        .iter()
        .map(|node| {
            let watch = node.watch.clone();
            tokio::task::spawn_blocking(move || watch.look().ok())
        })
        .collect();
    let mut seen = Vec::new();
    for look in looks {
        seen.push(tokio::time::timeout(LOOK_TIME, look).await.ok().and_then(Result::ok).flatten());
    }
    seen
}

/// What is to be said of children that ended by themselves.
fn died(children: &mut [Child]) -> Vec<String> {
    children.iter_mut().filter_map(|child| child.ended().is_some().then(|| child.obituary())).collect()
}
