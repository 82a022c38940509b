//! What tests of real processes share: a lane (a network namespace with a temporary directory), child processes that
//! die with their guard, and a sidecar that can be asked, stopped, killed and started again.

pub(crate) mod lane;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod resp;
pub(crate) mod sidecar;

use std::time::{Duration, Instant};

/// Asks again until the answer is yes, at most for `limit`. Says whether it came.
pub(crate) fn within(limit: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if ready() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
