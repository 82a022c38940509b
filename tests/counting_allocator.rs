//! An allocator that counts, for the tests that say what must not allocate, or how much may.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

/// Counts what each thread allocates and frees, and leaves the work to the system's allocator.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn note(allocations: u64, bytes: i64) {
    // A thread that is going away has no counters any more; nobody asks for them either.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + allocations));
    let _ = BYTES.try_with(|count| count.set(count.get() + bytes));
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: every method passes its arguments unchanged to the system's allocator and returns what that returns; the counters are
// plain cells of the calling thread, which neither allocate nor unwind.
#[expect(unsafe_code, reason = "counting needs an allocator, and an allocator is an unsafe trait")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, signed(layout.size()));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, -signed(layout.size()));
        // SAFETY: the caller's promise about `pointer` and `layout` is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, signed(layout.size()));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, signed(size) - signed(layout.size()));
        // SAFETY: the caller's promise about all three is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What `work` gave, how often it allocated on this thread, and how many bytes more this thread holds after it.
pub(crate) fn counted<R>(work: impl FnOnce() -> R) -> (R, u64, i64) {
    let before = (ALLOCATIONS.get(), BYTES.get());
    let result = work();
    (result, ALLOCATIONS.get() - before.0, BYTES.get() - before.1)
}

#[test]
fn the_counting_allocator_counts() {
    let (kept, allocations, bytes) = counted(|| {
        drop(Vec::<u8>::with_capacity(100));
        Vec::<u8>::with_capacity(1_000)
    });
    assert_eq!((allocations, bytes, kept.capacity()), (2, 1_000, 1_000));
}
