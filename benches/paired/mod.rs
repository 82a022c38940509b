//! Several ways to do the same, in turns within one run: what else the machine does meanwhile falls on all of them alike.
//!
//! Prints the median time of one operation and, against the first way, the ratio: its median over the rounds, and the least
//! and the greatest of them.

use std::time::Duration;

/// A way to do it: its name, and what does so many operations and says how long they took.
pub(crate) type Way<'a> = (&'a str, Box<dyn FnMut(u32) -> Duration + 'a>);

/// So many rounds; in each, every way does so many operations, and the order turns from round to round.
pub(crate) fn in_turns(title: &str, rounds: usize, operations: u32, mut ways: Vec<Way<'_>>) {
    let mut nanos: Vec<Vec<f64>> = ways.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for (_, way) in &mut ways {
        way(operations); // warm
    }
    for round in 0..rounds {
        for turn in 0..ways.len() {
            let number = (round + turn) % ways.len();
            let took = (ways[number].1)(operations);
            nanos[number].push(took.as_secs_f64() * 1e9 / f64::from(operations));
        }
    }
    println!("{title}: {rounds} paired rounds of {operations}");
    for ((name, _), own) in ways.iter().zip(&nanos) {
        let ratios = own.iter().zip(&nanos[0]).map(|(own, first)| own / first).collect();
        let (least, middle, greatest) = spread(ratios);
        println!("    {name:<44} {:>8.1} ns  {middle:>6.2}x ({least:.2} to {greatest:.2})", spread(own.clone()).1);
    }
}

/// The least, the median and the greatest.
fn spread(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    let at = |place: usize| figures.get(place).copied().unwrap_or(f64::NAN);
    (at(0), at(figures.len() / 2), at(figures.len().saturating_sub(1)))
}
