//! Hands values, one at a time, from a thread that prepares them to one that takes them. Neither ever waits.
//!
//! What must stay true: a value that was put is taken once, or is still there; none is overwritten. The preparer puts only
//! while the place isn't filled; the taker says that it is empty after it took.

#[cfg(not(loom))]
use crossbeam_utils::atomic::AtomicCell as Place;

#[cfg(loom)]
use self::loom_place::Place;
use super::{AtomicBool, Ordering};

/// See the module.
pub(crate) struct HandOver<T> {
    value: Place<Option<Box<T>>>,
    filled: AtomicBool,
}

#[cfg(not(loom))]
const _: () = assert!(Place::<Option<Box<u64>>>::is_lock_free(), "the hand-over takes no lock");

impl<T> Default for HandOver<T> {
    fn default() -> Self {
        Self { value: Place::new(None), filled: AtomicBool::new(false) }
    }
}

impl<T> std::fmt::Debug for HandOver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandOver").field("filled", &self.is_filled()).finish_non_exhaustive()
    }
}

impl<T> HandOver<T> {
    /// Whether the value that was put last is still there, or its taker has not said yet that it took it.
    pub(crate) fn is_filled(&self) -> bool {
        // Acquire: pairs with `emptied`; what the taker did before it is seen.
        self.filled.load(Ordering::Acquire)
    }

    /// Puts a value. Only the preparing thread calls this, and only while the place isn't filled.
    pub(crate) fn put(&self, value: T) {
        // The flag first: set after the value, it could overwrite the flag of a taker that was quicker.
        self.filled.store(true, Ordering::Relaxed);
        self.value.store(Some(Box::new(value)));
    }

    /// Takes the value, if there is one. Say [`HandOver::emptied`] then.
    pub(crate) fn take(&self) -> Option<Box<T>> {
        self.value.take()
    }

    /// Lets the preparer put the next value.
    pub(crate) fn emptied(&self) {
        // Release: pairs with `is_filled`.
        self.filled.store(false, Ordering::Release);
    }
}

/// The cell as loom can explore it: each of its operations one step.
#[cfg(loom)]
mod loom_place {
    use crate::sync::Mutex;

    pub(super) struct Place<T>(Mutex<T>);

    impl<T: Default> Place<T> {
        pub(super) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(super) fn store(&self, value: T) {
            *self.0.lock() = value;
        }

        pub(super) fn take(&self) -> T {
            std::mem::take(&mut *self.0.lock())
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::HandOver;

    /// The preparer's three rounds, and the taker's three: everything that was put is taken in order, or the last is there.
    fn story(preparer_is_spawned: bool) {
        loom::model(move || {
            let place = Arc::new(HandOver::default());
            let prepare = |place: &HandOver<u32>| {
                let mut put = 0;
                for _ in 0..3 {
                    if !place.is_filled() {
                        put += 1;
                        place.put(put);
                    }
                }
                put
            };
            let take = |place: &HandOver<u32>| {
                let mut taken = Vec::new();
                for _ in 0..3 {
                    if let Some(value) = place.take() {
                        place.emptied();
                        taken.push(*value);
                    }
                }
                taken
            };
            let other = Arc::clone(&place);
            let (put, mut taken) = if preparer_is_spawned {
                let preparer = thread::spawn(move || prepare(&other));
                let taken = take(&place);
                (preparer.join().unwrap(), taken)
            } else {
                let taker = thread::spawn(move || take(&other));
                let put = prepare(&place);
                (put, taker.join().unwrap())
            };
            let left = place.take();
            assert_eq!(
                place.is_filled(),
                left.is_some(),
                "the flag says otherwise than the place: nothing would ever be put again"
            );
            taken.extend(left.map(|value| *value));
            assert_eq!(taken, (1..=put).collect::<Vec<_>>(), "lost, doubled or out of order");
        });
    }

    #[test]
    fn loom_what_is_put_is_taken_once_and_in_order() {
        story(true);
    }

    #[test]
    fn loom_what_is_put_is_taken_once_and_in_order_with_the_roles_turned() {
        story(false);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::HandOver;

    #[test]
    fn a_value_is_there_until_it_is_taken_and_said_to_be() {
        let place = HandOver::default();
        assert!(!place.is_filled() && place.take().is_none());
        place.put(7);
        assert!(place.is_filled());
        assert_eq!(place.take(), Some(Box::new(7)));
        assert!(place.is_filled(), "until the taker says so");
        place.emptied();
        assert!(!place.is_filled() && place.take().is_none());
    }
}
