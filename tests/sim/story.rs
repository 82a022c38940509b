//! A story: how a cluster is set up, and what happens to it. A seed makes one; shrinking leaves out what isn't needed.

use std::fmt;

use callgate::cluster::{Class, Parameters, Retention};

use crate::desk::Limit;
use crate::dice::Dice;

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1000 * MS;

/// A resource as all nodes share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    pub name: &'static str,
    pub limit: Limit,
    pub class: Class,
}

impl Shared {
    pub const fn new(name: &'static str, limit: Limit, class: Class) -> Self {
        Self { name, limit, class }
    }

    pub const fn units(&self, licenses: u32) -> u32 {
        licenses * self.limit.kind().units_per_license()
    }

    pub const fn is_rate(&self) -> bool {
        matches!(self.limit, Limit::Rate)
    }
}

/// How the wire treats what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// One-way delay, in microseconds, evenly between.
    pub delay_us: (u64, u64),
    /// Of a thousand.
    pub lost: u32,
    pub doubled: u32,
    /// Arrive up to `late_ms` later: behind what was sent afterwards.
    pub late: u32,
    pub late_ms: u64,
}

impl Wire {
    pub const fn calm(delay_us: (u64, u64)) -> Self {
        Self { delay_us, lost: 0, doubled: 0, late: 0, late_ms: 0 }
    }
}

/// How a cluster is set up.
#[derive(Debug, Clone)]
pub struct Setting {
    pub seed: u64,
    pub shared: Vec<Shared>,
    /// Licenses by node and resource.
    pub homes: Vec<Vec<u32>>,
    /// How much faster than real time each node's clock runs, in parts per million.
    pub drift: Vec<i64>,
    pub params: Parameters,
    pub wire: Wire,
    /// A write takes so long, in microseconds.
    pub disk_us: (u64, u64),
    /// Mean length of a session, in milliseconds.
    pub session_ms: u64,
    /// Grants of hard resources lapse unless they are confirmed.
    pub lapsing: bool,
    /// Of a thousand calls.
    pub emergencies: u32,
    pub storm_ms: u64,
}

impl Setting {
    pub fn nodes(&self) -> usize {
        self.homes.len()
    }
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// Calls come at a node, so many a second on average.
    Load {
        node: usize,
        of: usize,
        per_second: u64,
    },
    /// So many at once.
    Burst {
        node: usize,
        of: usize,
        calls: u32,
    },
    /// Part of a node's sessions end at once, in percent.
    Hangup {
        node: usize,
        of: usize,
        percent: u64,
    },
    /// Nothing passes from one node to another, in this direction.
    Cut {
        from: usize,
        to: usize,
    },
    /// A node is cut off from those whose bit is set here and whose isn't there.
    Split {
        side: u32,
    },
    Heal,
    /// The connection between two nodes breaks.
    Reset {
        one: usize,
        other: usize,
    },
    Wire(Wire),
    /// The process is killed; its calls go on. It starts again after so long.
    Kill {
        node: usize,
        down_ms: u64,
    },
    /// The host loses power: what wasn't written is gone, and so are its calls.
    PowerLoss {
        node: usize,
        down_ms: u64,
    },
    /// The host is replaced by one with an empty disk.
    Replace {
        node: usize,
        down_ms: u64,
    },
    /// The process stands still. `calls` came meanwhile, and are answered first.
    Pause {
        node: usize,
        ms: u64,
        calls: u32,
    },
    Drift {
        node: usize,
        ppm: i64,
    },
    /// Writes take so long.
    Disk {
        node: usize,
        us: u64,
    },
    /// Writes fail, for so long.
    DiskFails {
        node: usize,
        ms: u64,
    },
    /// The backend moves licenses from one node to another.
    Move {
        of: usize,
        from: usize,
        to: usize,
        licenses: u32,
    },
    /// The backend isn't reached: grants of hard resources aren't confirmed.
    Contact {
        node: usize,
        lost_ms: u64,
    },
    Drain {
        node: usize,
    },
    Undrain {
        node: usize,
    },
    /// An operator tells all others that a node is gone for good.
    Forget {
        node: usize,
    },
    /// The backend vouches for a replaced node's earlier ledger.
    Vouch {
        node: usize,
    },
}

/// A story.
#[derive(Debug, Clone)]
pub struct Story {
    pub setting: Setting,
    /// What happens, by when, in milliseconds.
    pub events: Vec<(u64, Happening)>,
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { seed, shared, homes, drift, params, wire, disk_us, session_ms, lapsing, .. } = &self.setting;
        writeln!(f, "seed {seed}: {} nodes, clocks {drift:?} ppm, lapsing {lapsing}", homes.len())?;
        for (of, resource) in shared.iter().enumerate() {
            let homes: Vec<u32> = homes.iter().map(|home| home[of]).collect();
            writeln!(f, "  {of}: {} {:?} {:?}, licenses {homes:?}", resource.name, resource.limit, resource.class)?;
        }
        writeln!(f, "  {wire:?}, disk {disk_us:?} us, sessions of {session_ms} ms, retention {:?}", params.retention)?;
        for (at, happening) in &self.events {
            writeln!(f, "  {at:>6} ms  {happening:?}")?;
        }
        Ok(())
    }
}

const CPS: Shared = Shared::new("cps", Limit::Rate, Class::License);
const CPS_HARD: Shared = Shared::new("cps-hard", Limit::Rate, Class::Hard);
const SESSION: Shared = Shared::new("session", Limit::Sessions, Class::License);
const SESSION_HARD: Shared = Shared::new("session-hard", Limit::Sessions, Class::Hard);
const EXPORT: Shared = Shared::new("export", Limit::Export, Class::Hard);
const WEBRTC: Shared = Shared::new("webrtc", Limit::Webrtc, Class::Hard);

/// The story of a seed.
pub fn story(seed: u64) -> Story {
    let mut dice = Dice::new(seed ^ 0x00C0_FFEE);
    let nodes = *dice.pick(&[2, 2, 3, 3, 3, 3, 4, 5]);
    made(seed, nodes, dice)
}

/// The same for another number of nodes.
pub fn with_nodes(seed: u64, nodes: usize) -> Story {
    made(seed, nodes.max(2), Dice::new(seed ^ 0x00C0_FFEE))
}

fn made(seed: u64, nodes: usize, mut dice: Dice) -> Story {
    let shared: Vec<Shared> = match dice.below(8) {
        0 | 1 => vec![CPS],
        2 => vec![CPS_HARD, SESSION],
        3 => vec![SESSION_HARD],
        4 => vec![SESSION],
        5 => vec![EXPORT, WEBRTC],
        6 => vec![CPS, SESSION, SESSION_HARD],
        _ => vec![CPS, CPS_HARD, SESSION, EXPORT, WEBRTC],
    };
    let lost_peers = shared.contains(&SESSION) && dice.chance(350);
    let params = Parameters {
        rate_term_ms: *dice.pick(&[300, 1000, 2000]),
        session_term_ms: u32::try_from(dice.between(1000, 4000)).unwrap(),
        reclaim_grace_ms: u32::try_from(dice.between(300, 2000)).unwrap(),
        lost_after_ms: 1000,
        trustee_term_ms: 3000,
        repeat_interval_ms: 500,
        max_lend_percent: *dice.pick(&[50, 100, 100]),
        retention: if lost_peers {
            *dice.pick(&[Retention::Any, Retention::Quorum, Retention::Quorum])
        } else {
            Retention::Off
        },
        ..Parameters::default()
    };
    let homes =
        (0..nodes).map(|_| shared.iter().map(|_| u32::try_from(dice.between(0, 6)).unwrap()).collect()).collect();
    let drift = (0..nodes).map(|_| *dice.pick(&[0, 1000, -1000, 400, -400])).collect();
    let rough = dice.chance(800);
    let wire = Wire {
        delay_us: *dice.pick(&[(500, 2000), (1000, 5000), (1000, 50_000)]),
        lost: if rough { *dice.pick(&[0, 10, 100, 300]) } else { 0 },
        doubled: if rough { *dice.pick(&[0, 20, 200]) } else { 0 },
        late: if rough { *dice.pick(&[0, 20, 200]) } else { 0 },
        late_ms: *dice.pick(&[50, 500, 3000]),
    };
    let storm_ms = if lost_peers { dice.between(15_000, 30_000) } else { dice.between(3000, 9000) };
    let setting = Setting {
        seed,
        homes,
        drift,
        params,
        wire,
        disk_us: *dice.pick(&[(100, 1000), (1000, 20_000), (20_000, 200_000)]),
        session_ms: *dice.pick(&[200, 1000, 4000]),
        lapsing: dice.chance(300),
        emergencies: *dice.pick(&[0, 0, 10]),
        storm_ms,
        shared,
    };
    let mut events = Vec::new();
    // The places differ in what they mostly suffer from.
    let flavor = dice.below(6);
    let mut at = 0;
    while at < storm_ms {
        let count = if lost_peers { 3 } else { 1 };
        events.push((at, happening(&setting, flavor, lost_peers, &mut dice)));
        at += 1 + dice.exponential(120 * count);
    }
    Story { setting, events }
}

/// Sessions that come home are in use when their lender is killed, before its slow disk has the lower loan; and the borrower
/// wants them again. A random storm seldom comes to that.
pub fn homecoming(seed: u64) -> Story {
    let mut dice = Dice::new(seed);
    let mut story = made(seed, 2, Dice::new(seed));
    story.setting.shared = vec![SESSION_HARD];
    story.setting.homes = vec![vec![4], vec![4]];
    story.setting.params = Parameters::default();
    story.setting.wire = Wire::calm((500, 2000));
    story.setting.disk_us = (100_000, 200_000);
    story.setting.session_ms = 60_000;
    story.setting.lapsing = false;
    story.setting.emergencies = 0;
    story.events.clear();
    for round in 0..6 {
        let at = round * 3000;
        let (lender, borrower) = (0, 1);
        for turn in 0..12 {
            story.events.push((at + turn * 60, Happening::Burst { node: borrower, of: 0, calls: 3 }));
        }
        let ends = at + 1000 + dice.below(300);
        story.events.push((ends, Happening::Hangup { node: borrower, of: 0, percent: 100 }));
        for turn in 0..12 {
            story.events.push((ends + 20 + turn * 15, Happening::Burst { node: lender, of: 0, calls: 4 }));
        }
        story.events.push((ends + 40 + dice.below(200), Happening::Kill { node: lender, down_ms: 1 + dice.below(30) }));
        for turn in 0..12 {
            story.events.push((ends + 260 + turn * 60, Happening::Burst { node: borrower, of: 0, calls: 12 }));
        }
        story.events.push((at + 2700, Happening::Hangup { node: lender, of: 0, percent: 100 }));
        story.events.push((at + 2700, Happening::Hangup { node: borrower, of: 0, percent: 100 }));
    }
    story.events.sort_by_key(|(at, _)| *at);
    story.setting.storm_ms = 18_500;
    story
}

/// Licenses that are moved at a time.
const MOVED_MAX: u64 = 3;

fn happening(setting: &Setting, flavor: u64, lost_peers: bool, dice: &mut Dice) -> Happening {
    let nodes = setting.nodes();
    let node = dice.index(nodes);
    let of = dice.index(setting.shared.len());
    let other = (node + 1 + dice.index(nodes - 1)) % nodes;
    let down_ms = *dice.pick(&[1, 20, 150, 400, 1500]);
    if dice.chance(450) {
        let home = u64::from(setting.shared[of].units(setting.homes[node][of])).max(5);
        return match dice.below(8) {
            0..=3 => Happening::Load { node, of, per_second: *dice.pick(&[0, home / 2, home, home * 3]) },
            4..=6 => Happening::Burst { node, of, calls: u32::try_from(dice.between(1, home * 3)).unwrap() },
            _ => Happening::Hangup { node, of, percent: dice.between(10, 100) },
        };
    }
    let kind = if dice.chance(400) { flavor } else { dice.below(6) };
    match (kind, dice.below(6)) {
        (0, 0) => Happening::Cut { from: node, to: other },
        (0, 1 | 2) => Happening::Split { side: 1 + u32::try_from(dice.below((1 << nodes.min(30)) - 2)).unwrap() },
        (0, 3 | 4) => Happening::Heal,
        (0, _) => Happening::Reset { one: node, other },
        (1, 0..=2) => Happening::Kill { node, down_ms },
        (1, 3 | 4) => Happening::PowerLoss { node, down_ms },
        (1, _) if dice.chance(300) => Happening::Replace { node, down_ms: down_ms + *dice.pick(&[0, 6000]) },
        (1, _) => Happening::Kill { node, down_ms },
        (2, 0..=4) => {
            let ms = *dice.pick(&[30, 300, 1100, 2500]);
            Happening::Pause { node, ms, calls: u32::try_from(dice.below(40)).unwrap() }
        }
        (2, _) => Happening::Drift { node, ppm: *dice.pick(&[1000, -1000, 0]) },
        (3, 0..=2) => Happening::Disk { node, us: *dice.pick(&[100, 5000, 300_000]) },
        (3, _) => Happening::DiskFails { node, ms: *dice.pick(&[10, 700, 2000]) },
        (4, 0..=4) => {
            Happening::Move { of, from: node, to: other, licenses: u32::try_from(dice.between(1, MOVED_MAX)).unwrap() }
        }
        (4, _) => Happening::Contact { node, lost_ms: *dice.pick(&[500, 3000]) },
        (5, 0) => Happening::Drain { node },
        (5, 1) => Happening::Undrain { node },
        (5, 2) => Happening::Forget { node },
        (5, 3) => Happening::Vouch { node },
        (_, _) if lost_peers => Happening::Split { side: 1 << (node % 30) },
        (_, _) => Happening::Wire(Wire { lost: *dice.pick(&[0, 50, 400]), ..setting.wire }),
    }
}
