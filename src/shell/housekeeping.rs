//! Rounds of housekeeping on the slow runtime: leases end, levels become alarms, full tables are told.
//!
//! It never holds up the fast path: the gate bounds each round's work, and between two rounds requests get through.

mod capacity;
mod levels;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use self::capacity::CapacityWatch;
use self::levels::LevelWatch;
use super::context::Context;
use crate::units::NANOS_PER_SECOND;

/// How often a round begins.
const ROUND: Duration = Duration::from_millis(50);

/// How many pieces of work one round does before the next is due.
const PIECES_MAX: u32 = 200;

/// Above so many limits, full tables are looked for less often: listing all of them costs a few milliseconds.
const LIMITS_CHEAP_MAX: usize = 512;

/// Runs until it is dropped.
pub async fn run(context: Arc<Context>) {
    let mut levels = LevelWatch::default();
    let mut capacity = CapacityWatch::default();
    let mut look_at = context.clock.tick();
    let mut rounds = interval(ROUND);
    // After a stall one round is enough: it does what is due by the clock.
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        for _ in 0..PIECES_MAX {
            let done = context.gate.housekeep(context.clock.now());
            for change in done.levels {
                levels.changed(&context, change);
            }
            if !done.more {
                break;
            }
            tokio::task::yield_now().await;
        }
        let now = context.clock.now();
        levels.settle(&context, now);
        if now.tick >= look_at {
            let status = context.gate.status(now);
            let pause_s = if status.limits.len() > LIMITS_CHEAP_MAX { 10 } else { 1 };
            look_at = now.tick.plus_nanos(pause_s * NANOS_PER_SECOND);
            capacity.look(&context, &status, now);
        }
        context.counters.housekeeping_rounds().inc();
    }
}
