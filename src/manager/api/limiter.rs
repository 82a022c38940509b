//! So many events per minute and address.
//!
//! A bucket of tokens per address: it holds a minute's worth and fills evenly. The number of addresses is bounded; when it
//! is reached, full buckets are forgotten, as they say nothing; and if there are none, one of the fuller ones: whoever
//! fills the table with addresses must not lock everybody else out.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::units::{NANOS_PER_SECOND, Tick};

/// The most addresses that are remembered.
const ADDRESSES_MAX: usize = 65_536;

const MINUTE_NS: u64 = 60 * NANOS_PER_SECOND;

/// Buckets that are looked at for one to forget.
const LOOKED_AT: usize = 8;

#[derive(Debug)]
struct Bucket {
    /// What is left, in nanoseconds of filling: one event costs a minute divided by the rate.
    left_ns: u64,
    at: Tick,
}

/// A limiter.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    cost_ns: u64,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    of: HashMap<IpAddr, Bucket>,
    /// When full buckets were last forgotten: going through all of them is not for every request.
    swept: Tick,
}

/// The networks that one person controls: a whole /64 of IPv6 counts as one address.
pub(super) fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !(u128::from(u64::MAX))).into()),
    }
}

impl RateLimiter {
    /// So many per minute, at least one.
    pub(crate) fn per_minute(rate: u32) -> Self {
        Self { cost_ns: MINUTE_NS / u64::from(rate.max(1)), buckets: Mutex::default() }
    }

    /// Takes one, if there is one; else says after how many seconds there will be.
    pub(crate) fn take(&self, address: IpAddr, now: Tick) -> Result<(), u64> {
        let mut buckets = self.buckets.lock();
        let address = group(address);
        if buckets.of.len() >= ADDRESSES_MAX && !buckets.of.contains_key(&address) {
            buckets.make_room(now);
        }
        let bucket = buckets.of.entry(address).or_insert(Bucket { left_ns: MINUTE_NS, at: now });
        bucket.left_ns = filled(bucket, now);
        bucket.at = now;
        match bucket.left_ns.checked_sub(self.cost_ns) {
            Some(left) => {
                bucket.left_ns = left;
                Ok(())
            }
            None => Err(self.wait(bucket.left_ns)),
        }
    }

    fn wait(&self, left_ns: u64) -> u64 {
        self.cost_ns.saturating_sub(left_ns).div_ceil(NANOS_PER_SECOND).max(1)
    }
}

impl Buckets {
    fn make_room(&mut self, now: Tick) {
        if now.0.saturating_sub(self.swept.0) >= NANOS_PER_SECOND {
            self.swept = now;
            self.of.retain(|_, bucket| filled(bucket, now) < MINUTE_NS);
        }
        if self.of.len() >= ADDRESSES_MAX {
            let fullest = self.of.iter().take(LOOKED_AT).max_by_key(|(_, bucket)| filled(bucket, now));
            if let Some(address) = fullest.map(|(address, _)| *address) {
                self.of.remove(&address);
            }
        }
    }
}

fn filled(bucket: &Bucket, now: Tick) -> u64 {
    bucket.left_ns.saturating_add(now.0.saturating_sub(bucket.at.0)).min(MINUTE_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick((1_000 + seconds) * NANOS_PER_SECOND)
    }

    #[test]
    fn a_minutes_worth_passes_at_once_and_then_only_what_fills_up() {
        let limiter = RateLimiter::per_minute(6);
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..6 {
            limiter.take(one, at(0)).unwrap();
        }
        assert_eq!(limiter.take(one, at(0)), Err(10));
        assert_eq!(limiter.take(one, at(9)), Err(1));
        assert_eq!(limiter.take(one, at(10)), Ok(()));
        assert!(limiter.take(one, at(10)).is_err());
        limiter.take("192.0.2.2".parse().unwrap(), at(10)).unwrap();
    }

    #[test]
    fn a_64_of_ipv6_is_one_address_and_a_mapped_one_is_its_ipv4() {
        let limiter = RateLimiter::per_minute(1);
        limiter.take("2001:db8::1".parse().unwrap(), at(0)).unwrap();
        assert!(limiter.take("2001:db8::2".parse().unwrap(), at(0)).is_err());
        limiter.take("2001:db8:0:1::1".parse().unwrap(), at(0)).unwrap();
        limiter.take("192.0.2.1".parse().unwrap(), at(0)).unwrap();
        assert!(limiter.take("::ffff:192.0.2.1".parse().unwrap(), at(0)).is_err());
    }

    #[test]
    fn addresses_are_bounded_and_those_that_say_nothing_are_forgotten_first() {
        let limiter = RateLimiter::per_minute(60);
        for n in 0..u32::try_from(ADDRESSES_MAX).unwrap() {
            limiter.take(IpAddr::V4(n.into()), at(0)).unwrap();
        }
        let one = IpAddr::V4(u32::MAX.into());
        limiter.take(one, at(0)).unwrap();
        assert_eq!(limiter.buckets.lock().of.len(), ADDRESSES_MAX, "one was forgotten for it");
        limiter.take(IpAddr::V4((u32::MAX - 1).into()), at(2)).unwrap();
        assert_eq!(limiter.buckets.lock().of.len(), 1, "all others had filled up again");
    }
}
