//! The synchronisation primitives that the rest of the crate uses, chosen once.
//!
//! A normal build takes the standard library's atomics and `parking_lot`'s locks; under `--cfg loom` the same names
//! are loom's, so that every lock-free piece is explored in all its interleavings by the code that ships.

// Used by the journal alone, which is the shell's; it lives here so that loom explores it.
#[cfg(any(feature = "shell", test))]
pub(crate) mod hand_over;

#[cfg(not(loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Lets a lock go to whoever waits for it: for walks that would otherwise take it again at once.
#[cfg(not(loom))]
pub(crate) fn unlock_fair<T>(guard: MutexGuard<'_, T>) {
    MutexGuard::unlock_fair(guard);
}

/// loom has no waiting order.
#[cfg(loom)]
pub(crate) fn unlock_fair<T>(guard: MutexGuard<'_, T>) {
    drop(guard);
}

#[cfg(loom)]
pub(crate) use self::loom_lock::{Mutex, MutexGuard};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// loom's lock behind `parking_lot`'s signature: a lock that cannot be poisoned.
#[cfg(loom)]
mod loom_lock {
    pub(crate) use loom::sync::MutexGuard;

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            match self.0.lock() {
                Ok(guard) => guard,
                Err(poisoned) => poisoned.into_inner(),
            }
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}
