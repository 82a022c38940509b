//! Waits for sockets, to the nanosecond where the kernel can (epoll_pwait2, Linux 5.11).

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::thread::set_current_timer_slack;
use rustix::time::Timespec;

use crate::num;
use crate::span::SECOND;

/// Sockets by number.
pub(super) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    /// A poller for that many sockets.
    pub(super) fn new(sockets: usize) -> io::Result<Self> {
        // A timer of a thread may be late by 50 us by default. Refused, it stays so, and shows as lag.
        let _kept_as_it_was = set_current_timer_slack(NonZeroU64::new(1));
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(sockets.max(1)) })
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
        let (seconds, rest) = (nanos / SECOND, nanos % SECOND);
        let timeout =
            Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: i64::try_from(rest).unwrap_or(0) };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.drain(..).map(|event| num::index(event.data.u64())));
        Ok(())
    }
}
