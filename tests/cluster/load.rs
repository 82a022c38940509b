//! Load on the members of a cluster, and what was admitted of it: the union of all nodes' answers, judged from outside.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::e2e::window::proven_peak;
use crate::support::resp::Client;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// One question and its answer. The moment of the decision lies between both.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) asked: Duration,
    pub(crate) answered: Duration,
    pub(crate) admitted: bool,
}

/// What one node was asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offers(pub(crate) Vec<Offer>);

impl Offers {
    /// Calls that were admitted.
    pub(crate) fn admitted(&self) -> usize {
        self.0.iter().filter(|offer| offer.admitted).count()
    }

    /// Admitted of what was asked from `from` on, for so long.
    pub(crate) fn admitted_within(&self, from: Duration, length: Duration) -> usize {
        let within = |offer: &&Offer| offer.asked >= from && offer.answered < from + length;
        self.0.iter().filter(|offer| offer.admitted).filter(within).count()
    }
}

/// The most admissions of all nodes together that lie wholly within one second.
pub(crate) fn peak_of_all(nodes: &[Offers]) -> usize {
    let admitted = nodes.iter().flat_map(|node| &node.0).filter(|offer| offer.admitted);
    let mut brackets: Vec<_> = admitted.map(|offer| (offer.asked, offer.answered)).collect();
    brackets.sort_unstable();
    proven_peak(&brackets)
}

/// Asks each of these sockets for so many calls per second, all at the same time, while `during` runs. What isn't answered
/// (a node that was killed) counts as asked and not admitted; the connection is made again.
pub(crate) fn while_offering<R>(
    origin: Instant,
    loads: &[(PathBuf, u32)],
    kept: bool,
    during: impl FnOnce() -> R,
) -> (R, Vec<Offers>) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = loads
            .iter()
            .map(|(socket, rate)| {
                let stop = &stop;
                scope.spawn(move || offer(origin, socket, *rate, kept, stop))
            })
            .collect();
        let result = during();
        stop.store(true, Ordering::Relaxed);
        (result, threads.into_iter().map(|thread| thread.join().expect("a load ends")).collect())
    })
}

fn offer(origin: Instant, socket: &std::path::Path, rate: u32, kept: bool, stop: &AtomicBool) -> Offers {
    let mut offers = Offers::default();
    if rate == 0 {
        return offers;
    }
    let gap = Duration::from_secs(1) / rate;
    let mut client = Client::connect(socket).ok();
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now < due {
            std::thread::sleep(due - now);
        }
        // What could not be offered in time is not made up for in one burst longer than a tenth of a second.
        due = (due + gap).max(Instant::now() - Duration::from_millis(100));
        let id = format!("l{}@{}", NEXT.fetch_add(1, Ordering::Relaxed), std::process::id());
        let Some(asking) = &mut client else {
            client = Client::connect(socket).ok();
            continue;
        };
        let asked = origin.elapsed();
        let answer = asking.ask(&["ADMIT", &id]);
        let answered = origin.elapsed();
        let admitted = match &answer {
            Ok(reply) => reply.array().first().is_some_and(|first| first.integer() == 1),
            Err(_) => {
                client = None;
                false
            }
        };
        if admitted && !kept && asking_release(&mut client, &id).is_none() {
            client = None;
        }
        offers.0.push(Offer { asked, answered, admitted });
    }
    offers
}

fn asking_release(client: &mut Option<Client>, id: &str) -> Option<()> {
    client.as_mut()?.ask(&["RELEASE", id]).ok().map(drop)
}
