//! The shortest story that still breaks a law: delta debugging (Zeller and Hildebrandt, 2002) over what happens.

use callgate::cluster::Rules;

use crate::course::tell;
use crate::story::{Happening, Story, Wire};

/// The most stories that are told to find it.
const TRIES: u32 = 600;

/// The law's name: what stands before the colon.
fn law(text: &str) -> &str {
    text.split(':').next().unwrap_or(text)
}

/// Leaves out what isn't needed to break the same law.
pub fn shortest(story: &Story, rules: &Rules) -> Story {
    let Some(broken) = tell(story, rules, false).broken else { return story.clone() };
    let mut best = story.clone();
    let mut tries = 0;
    let mut still = |candidate: &Story| {
        tries += 1;
        tries <= TRIES && tell(candidate, rules, false).broken.is_some_and(|text| law(&text) == law(&broken))
    };
    calm(&mut best, &mut still);
    let mut piece = best.events.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut left_out = false;
        while at < best.events.len() {
            let mut candidate = best.clone();
            candidate.events.drain(at..(at + piece).min(candidate.events.len()));
            if still(&candidate) {
                best = candidate;
                left_out = true;
            } else {
                at += piece;
            }
        }
        if piece == 1 && !left_out {
            break;
        }
        piece = piece.div_ceil(2).max(1);
    }
    // What comes after the last event may be needless too.
    let last = best.events.last().map_or(0, |(at, _)| *at);
    for storm_ms in [last + 50, last + 1000] {
        let mut candidate = best.clone();
        candidate.setting.storm_ms = storm_ms;
        if storm_ms < best.setting.storm_ms && still(&candidate) {
            best = candidate;
            break;
        }
    }
    calm(&mut best, &mut still);
    best
}

/// A kinder setting, where it does.
fn calm(best: &mut Story, still: &mut impl FnMut(&Story) -> bool) {
    let kinder: [fn(&mut Story); 6] = [
        |story| story.setting.wire = Wire::calm(story.setting.wire.delay_us),
        |story| story.setting.wire = Wire { doubled: 0, late: 0, ..story.setting.wire },
        |story| story.setting.drift.fill(0),
        |story| story.setting.emergencies = 0,
        |story| story.setting.lapsing = false,
        |story| story.events.retain(|(_, happening)| !matches!(happening, Happening::Wire(_))),
    ];
    for change in kinder {
        let mut candidate = best.clone();
        change(&mut candidate);
        if still(&candidate) {
            *best = candidate;
        }
    }
}
