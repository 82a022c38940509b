//! Waits for sockets, to the microsecond: epoll's own timeout counts milliseconds, so a timer stands among the sockets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::num;
use crate::span::{MILLISECOND, SECOND};

/// Sockets by number.
pub(super) struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    events: Vec<Event>,
}

/// The timer's number: no socket has it.
const TIMER: u64 = u64::MAX;
/// A wait that is longer is left to epoll, and ends early; what is left is waited for with the timer.
const FINE: u64 = 10 * MILLISECOND;

impl Poller {
    /// A poller for that many sockets.
    pub(super) fn new(sockets: usize) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, timer, events: Vec::with_capacity(sockets + 1) })
    }

    pub(super) fn add(&self, socket: &impl AsFd, number: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(num::wide(number)), EventFlags::IN)?)
    }

    /// Wakes up for room to write too, or no longer.
    pub(super) fn want_room(&self, socket: &impl AsFd, number: usize, wanted: bool) -> io::Result<()> {
        let flags = if wanted { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(num::wide(number)), flags)?)
    }

    /// Waits at most that long. The sockets that have something are in `ready` then.
    pub(super) fn wait(&mut self, nanos: u64, ready: &mut Vec<usize>) -> io::Result<()> {
        self.events.clear();
        ready.clear();
        let timeout = if nanos > FINE {
            Some(timespec(nanos / MILLISECOND * MILLISECOND))
        } else if nanos > 0 {
            let once = Itimerspec { it_interval: timespec(0), it_value: timespec(nanos) };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            None
        } else {
            Some(timespec(0))
        };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(
            self.events.drain(..).map(|event| event.data.u64()).filter(|number| *number != TIMER).map(num::index),
        );
        Ok(())
    }
}

fn timespec(nanos: u64) -> Timespec {
    let (seconds, rest) = (nanos / SECOND, nanos % SECOND);
    Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: i64::try_from(rest).unwrap_or(0) }
}
