//! What waits to be sent to a peer. Every message is absolute, so of two on the same matter the newer one says all: it
//! takes the older one's place in the line. A peer that doesn't read costs a bounded amount of memory.

use std::collections::{HashMap, VecDeque};

use tokio::sync::Notify;

use crate::cluster::{Message, NodeName, ResourceId};
use crate::sync::Mutex;

/// So many different matters may wait: every kind of message about every resource and a few dozen nodes.
const SLOTS_MAX: usize = 1024;

/// What a message is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    kind: &'static str,
    resource: Option<ResourceId>,
    about: Option<NodeName>,
}

impl Slot {
    pub(super) fn of(message: &Message) -> Self {
        let resource = match message {
            Message::Req(req) => Some(&req.resource),
            Message::Lend(lend) => Some(&lend.resource),
            Message::Adopt(adopt) => Some(&adopt.resource),
            Message::Hello(_)
            | Message::Leave(_)
            | Message::Census(_)
            | Message::Counted(_)
            | Message::Ballot(_)
            | Message::Vote(_)
            | Message::Release(_)
            | Message::Released(_)
            | Message::Beat(_)
            | Message::BeatAck(_) => None,
        };
        let about = match message {
            Message::Census(census) => Some(&census.about),
            Message::Counted(counted) => Some(&counted.about),
            Message::Ballot(ballot) => Some(&ballot.about),
            Message::Vote(vote) => Some(&vote.about),
            Message::Hello(_)
            | Message::Req(_)
            | Message::Lend(_)
            | Message::Adopt(_)
            | Message::Leave(_)
            | Message::Release(_)
            | Message::Released(_)
            | Message::Beat(_)
            | Message::BeatAck(_) => None,
        };
        Self { kind: message.label(), resource: resource.cloned(), about: about.cloned() }
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// It waits.
    Queued,
    /// It waits in the place of an older one.
    Replaced,
    /// It waits, and the oldest one was dropped.
    Overflowed,
}

/// The line for one connection.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<Slot>,
    bytes: HashMap<Slot, Vec<u8>>,
}

impl Outbox {
    pub(super) fn put(&self, slot: Slot, bytes: Vec<u8>) -> Put {
        let put = {
            let mut waiting = self.waiting.lock();
            if let Some(older) = waiting.bytes.get_mut(&slot) {
                *older = bytes;
                Put::Replaced
            } else {
                let full = waiting.order.len() >= SLOTS_MAX;
                if full && let Some(oldest) = waiting.order.pop_front() {
                    waiting.bytes.remove(&oldest);
                }
                waiting.order.push_back(slot.clone());
                waiting.bytes.insert(slot, bytes);
                if full { Put::Overflowed } else { Put::Queued }
            }
        };
        self.ready.notify_one();
        put
    }

    /// The next one; waits for it.
    pub(super) async fn take(&self) -> Vec<u8> {
        loop {
            if let Some(bytes) = self.try_take() {
                return bytes;
            }
            // One that was put between the look and here has left its permit.
            self.ready.notified().await;
        }
    }

    fn try_take(&self) -> Option<Vec<u8>> {
        let mut waiting = self.waiting.lock();
        let slot = waiting.order.pop_front()?;
        waiting.bytes.remove(&slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Anchor, Class, Incarnation, Kind, Licenses, Req, Seq};

    fn req(resource: &str, want: u32) -> Message {
        let resource = ResourceId { name: resource.into(), kind: Kind::Rate, class: Class::License };
        let (binc, linc) = (Incarnation(1), Incarnation(1));
        let (hold, want) = (Licenses(0), Licenses(want));
        Message::Req(Req { resource, binc, linc, anchor: Anchor(1), hold, seen: Seq(0), want })
    }

    fn put(outbox: &Outbox, message: &Message) -> Put {
        outbox.put(Slot::of(message), crate::cluster::encode_message(message).unwrap())
    }

    #[test]
    fn a_newer_word_on_the_same_matter_takes_the_older_ones_place() {
        let outbox = Outbox::default();
        assert_eq!(put(&outbox, &req("cps", 1)), Put::Queued);
        assert_eq!(put(&outbox, &req("room", 5)), Put::Queued);
        assert_eq!(put(&outbox, &req("cps", 2)), Put::Replaced);
        let encoded = |message: &Message| crate::cluster::encode_message(message).unwrap();
        assert_eq!(outbox.try_take().unwrap(), encoded(&req("cps", 2)));
        assert_eq!(outbox.try_take().unwrap(), encoded(&req("room", 5)));
        assert_eq!(outbox.try_take(), None);
    }

    #[test]
    fn a_line_that_nobody_reads_is_bounded_and_loses_its_oldest() {
        let outbox = Outbox::default();
        for at in 0..SLOTS_MAX {
            assert_eq!(put(&outbox, &req(&format!("r{at}"), 1)), Put::Queued);
        }
        assert_eq!(put(&outbox, &req("last", 1)), Put::Overflowed);
        let first = outbox.try_take().unwrap();
        assert_eq!(first, crate::cluster::encode_message(&req("r1", 1)).unwrap());
        assert_eq!(outbox.waiting.lock().order.len(), SLOTS_MAX - 1);
        assert_eq!(outbox.waiting.lock().bytes.len(), SLOTS_MAX - 1);
    }
}
