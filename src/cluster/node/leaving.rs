//! A node that leaves: it gives back what it holds, and waits for what it lent.

use super::{Cluster, DRAIN_STEP_MS, Drain};
use crate::cluster::action::{Action, Event};
use crate::cluster::ids::NodeName;
use crate::cluster::message::{Leave, Message};
use crate::cluster::pools::Pools;
use crate::units::Tick;

impl Cluster {
    /// Stops lending and borrowing, gives back what is held, wants back what is lent. [`Event::Drained`] when all of it is.
    pub fn drain(&mut self, now: Tick, pools: &mut dyn Pools) {
        if self.drain == Drain::Open {
            self.drain = Drain::Draining { look_at: now };
            for peer in self.connected.clone() {
                self.say_leave(&peer, true);
            }
            self.step_drain(now, pools);
            self.engine.flush(now);
        }
    }

    /// Takes part again.
    pub fn undrain(&mut self, now: Tick, pools: &mut dyn Pools) {
        if self.drain != Drain::Open {
            self.drain = Drain::Open;
            self.engine.set_closed(false, now, pools);
            for peer in self.connected.clone() {
                self.say_leave(&peer, false);
            }
        }
    }

    /// Whether nothing is lent and nothing held after a drain.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drain == Drain::Drained
    }

    /// Tells the others that this node goes. It says nothing more about itself afterwards.
    pub fn leave(&mut self, now: Tick) {
        self.presence.leave(now);
        self.take_simple_news(now);
    }

    pub(super) fn say_leave(&mut self, to: &NodeName, draining: bool) {
        let message = Message::Leave(Leave { inc: self.engine.inc(), draining });
        self.engine.act(Action::Send { to: to.clone(), message });
    }

    pub(super) fn step_drain(&mut self, now: Tick, pools: &mut dyn Pools) {
        let Drain::Draining { look_at } = self.drain else { return };
        if look_at > now {
            return;
        }
        self.drain = Drain::Draining { look_at: now.plus_millis(DRAIN_STEP_MS) };
        // Again each time: a loan may have been under way.
        self.engine.set_closed(true, now, pools);
        if self.engine.is_returned(now, pools) {
            self.drain = Drain::Drained;
            self.engine.act(Action::Tell(Event::Drained));
        }
    }
}
