//! callgate and its peers under the same work, by turns, pinned alike.
//!
//! Absolute figures of two cores that others use are worth little: they move by a sixth from run to run. So every round measures
//! every server, in an order that turns around each round, each started anew; and what counts is the median of the ratios of one
//! round's pairs, with the smallest and the largest beside it.

mod server;
mod table;

use std::io;
use std::path::PathBuf;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use self::server::{Programs, Server};
pub use self::table::{Cost, LatencyRow, RateRow, Table};
use crate::arrivals::{Profile, Spacing};
use crate::call_id::Names;
use crate::checks::Checks;
use crate::cli::PeersArgs;
use crate::clock::{Clock, thread_cpu, unix_ms};
use crate::drive::{self, DriveError, How, Pace, Progress, Steady, Work};
use crate::num;
use crate::pin;
use crate::record::Recorded;
use crate::span::{SECOND, Span};
use crate::wire::{Wire, resp};

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// Nobody decides: the ceiling of the runtime.
    Echo,
    /// Half admissions, half releases, unique ids, many live calls.
    Callgate,
    /// Redis, `INCR` of one key as long as a call's id.
    RedisIncr,
    /// Redis, a token bucket in Lua: the honest peer, since it decides.
    RedisLua,
    /// throttlecrab, `THROTTLE` of one key.
    Throttlecrab,
}

/// All of them, in the order of the table.
pub const PEERS: [Peer; 5] = [Peer::Echo, Peer::Callgate, Peer::RedisIncr, Peer::RedisLua, Peer::Throttlecrab];

impl Peer {
    /// Its name in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo (same bytes)",
            Self::Callgate => "callgate",
            Self::RedisIncr => "Redis INCR",
            Self::RedisLua => "Redis Lua bucket",
            Self::Throttlecrab => "throttlecrab",
        }
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The program to be compared isn't there.
    #[error("callgate is neither beside loadtest nor in PATH; name it with --callgate FILE")]
    NoCallgate,
    /// A server did not start.
    #[error("{peer}: {reason}")]
    Start {
        /// Which.
        peer: &'static str,
        /// What it said.
        reason: String,
    },
    /// A server was lost under load.
    #[error("{peer}: {source}")]
    Drive {
        /// Which.
        peer: &'static str,
        /// Why.
        source: DriveError,
    },
    /// The system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A token bucket in one string key, by the server's own clock: as many tokens a second as its burst. Whether there was one.
const LUA: &str = "local t=redis.call('TIME') local now=t[1]+t[2]/1e6 local burst,rate=tonumber(ARGV[1]),tonumber(ARGV[2]) \
local s=redis.call('GET',KEYS[1]) local tokens,at=burst,now if s then tokens,at=string.match(s,'(%S+) (%S+)') end \
tokens=math.min(burst,tokens+(now-at)*rate) local ok=0 if tokens>=1 then tokens=tokens-1 ok=1 end \
redis.call('SET',KEYS[1],string.format('%.6f %.6f',tokens,now),'EX',10) return ok";

struct Bench<'a> {
    args: &'a PeersArgs,
    programs: Programs,
    server_core: Option<usize>,
    load_core: Option<usize>,
    tell: &'a dyn Fn(&str),
}

/// Measures everything.
///
/// # Errors
/// See [`PeersError`]. A peer that isn't installed is left out, and told so.
pub fn measure(args: &PeersArgs, tell: &dyn Fn(&str)) -> Result<Table, PeersError> {
    let programs = Programs::find(args.callgate.clone())?;
    let peers: Vec<Peer> = PEERS.into_iter().filter(|peer| programs.has(*peer)).collect();
    for absent in PEERS.into_iter().filter(|peer| !peers.contains(peer)) {
        tell(&format!("{}: not installed, left out", absent.name()));
    }
    let cores = pin::allowed();
    let chosen = |wanted: Option<usize>, place: usize| {
        wanted.or_else(|| if cores.len() > 1 { cores.get(place).copied() } else { None })
    };
    let bench =
        Bench { args, programs, server_core: chosen(args.server_core, 0), load_core: chosen(args.load_core, 1), tell };
    let rates = bench.maxima(&peers)?;
    let latencies = if args.no_latency { Vec::new() } else { bench.latencies(&peers, &rates)? };
    Ok(Table {
        connections: args.connections,
        live: args.live,
        rounds: args.rounds,
        seconds: args.seconds.seconds(),
        server_core: bench.server_core,
        load_core: bench.load_core,
        rates,
        latencies,
    })
}

impl Bench<'_> {
    /// Each peer's maximum at each pipeline.
    fn maxima(&self, peers: &[Peer]) -> Result<Vec<RateRow>, PeersError> {
        let mut rows: Vec<RateRow> = Vec::new();
        for pipeline in &self.args.pipelines {
            let first = rows.len();
            rows.extend(peers.iter().map(|peer| RateRow::new(peer.name(), *pipeline)));
            for round in 0..self.args.rounds {
                (self.tell)(&format!("pipeline {pipeline}, round {} of {}", round + 1, self.args.rounds));
                for place in turned(peers.len(), round) {
                    let (recorded, cost) = self.one(peers[place], num::slot(*pipeline), None)?;
                    rows[first + place].take(&recorded, self.args.seconds.seconds(), cost);
                }
            }
        }
        Ok(rows)
    }

    /// callgate and each peer under four fifths of what the peer can at most.
    fn latencies(&self, peers: &[Peer], rates: &[RateRow]) -> Result<Vec<LatencyRow>, PeersError> {
        let pipeline =
            if self.args.pipelines.contains(&16) { 16 } else { self.args.pipelines.first().copied().unwrap_or(1) };
        let mut rows = Vec::new();
        for peer in peers.iter().filter(|peer| !matches!(peer, Peer::Echo | Peer::Callgate)) {
            let own = rates.iter().find(|row| row.peer == peer.name() && row.pipeline == pipeline);
            let Some(most) = own.and_then(RateRow::median) else { continue };
            let rate = 0.8 * most;
            (self.tell)(&format!("latency of callgate and {} at {:.0} k per second", peer.name(), rate / 1e3));
            let mut row = LatencyRow::new(peer.name(), pipeline, rate);
            for round in 0..self.args.rounds {
                for place in turned(2, round) {
                    let asked = if place == 0 { Peer::Callgate } else { *peer };
                    let (recorded, _) = self.one(asked, num::slot(pipeline), Some(rate))?;
                    row.take(asked == Peer::Callgate, &recorded);
                }
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// One measurement of a server that is started for it: as fast as it can, or at a rate.
    fn one(&self, peer: Peer, pipeline: usize, rate: Option<f64>) -> Result<(Recorded, Cost), PeersError> {
        let server = Server::start(peer, &self.programs, self.server_core)?;
        // Live calls must have come before they are measured: at least a hundred thousand a second do.
        let filling = if peer == Peer::Callgate { num::whole(f64::from(self.args.live) * 1e4) } else { 0 };
        let from = self.args.warm_up.0.saturating_add(filling);
        let until = from.saturating_add(self.args.seconds.0);
        let pace = match rate {
            None => Pace::Closed { until },
            Some(rate) => {
                let mut rng = SmallRng::seed_from_u64(1);
                Pace::Open(Profile::steady(rate, Span(until)).draw(Spacing::Poisson, &mut rng))
            }
        };
        let work = self.work(peer, &server)?;
        let how = How { connections: num::slot(self.args.connections), pipeline, patience: SECOND };
        let mut source = Steady::new(work, pace, Wire::Resp, Names::new(unix_ms()), from, Checks::default());
        let (server_before, load_before) = (server.cpu(), thread_cpu());
        let driven = pin::during(self.load_core, || {
            let clock = Clock::start();
            Ok(drive::run(&mut source, server.target(), &how, &clock, &Progress::default()))
        })?;
        driven.map_err(|source| PeersError::Drive { peer: peer.name(), source })?;
        let each = |nanos: u64| num::float(nanos) / 1e3 / num::float_len(source.asked().max(1));
        let (server_us, load_us) = (each(server.cpu().saturating_sub(server_before)), each(thread_cpu() - load_before));
        Ok((source.finish().0, Cost { server_us, load_us }))
    }

    fn work(&self, peer: Peer, server: &Server) -> Result<Work, PeersError> {
        // As long as the id of a call.
        const KEY: &[u8] = b"node-00000000-calls@load";
        let command = |parts: &[&[u8]]| {
            let mut bytes = Vec::new();
            resp::command(&mut bytes, parts);
            Work::Command(bytes)
        };
        Ok(match peer {
            Peer::Echo => Work::Matched,
            Peer::Callgate => Work::Calls { live: num::slot(self.args.live) },
            Peer::RedisIncr => command(&[b"INCR", KEY]),
            Peer::RedisLua => {
                let sha = server.ask(&[b"SCRIPT", b"LOAD", LUA.as_bytes()])?;
                command(&[b"EVALSHA", sha.as_bytes(), b"1", KEY, b"1000000", b"1000000"])
            }
            Peer::Throttlecrab => command(&[b"THROTTLE", KEY, b"1000000", b"1000000", b"1"]),
        })
    }
}

/// Places in their order, and turned around every other round: what comes first has no advantage.
fn turned(count: usize, round: u32) -> Vec<usize> {
    if round.is_multiple_of(2) { (0..count).collect() } else { (0..count).rev().collect() }
}

/// A program: where it was said to be, else beside this one, else in PATH.
fn find(name: &str, said: Option<PathBuf>) -> Option<PathBuf> {
    if let Some(said) = said {
        return said.is_file().then_some(said);
    }
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(|dir| dir.join(name)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside.into_iter().chain(std::env::split_paths(&path).map(|dir| dir.join(name))).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_turns_around_each_round() {
        assert_eq!([turned(3, 0), turned(3, 1), turned(3, 2)], [[0, 1, 2], [2, 1, 0], [0, 1, 2]]);
    }

    #[test]
    fn a_program_that_is_not_there_is_not_found() {
        assert_eq!(find("no-such-program-of-ours", None), None);
        assert_eq!(find("sh", Some("/no/such/file".into())), None);
        assert!(find("sh", None).is_some());
    }
}
