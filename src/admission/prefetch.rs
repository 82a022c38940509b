//! Asks the processor to fetch a cache line that will be needed soon.
//!
//! Memory latency decides the cost of a decision once the table outgrows the caches, so a batch fetches all its lines first
//! and decides then. The one unsafe line of the gate lives here.

/// Fetches the line that `value` begins in. A hint: no effect on any result.
#[inline]
#[cfg_attr(
    all(target_arch = "x86_64", not(miri)),
    expect(unsafe_code, reason = "the prefetch intrinsic takes a raw pointer; 1.8x at a million live calls")
)]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: PREFETCHT0 never faults and changes no memory, whatever the address; this one comes from a live reference.
    // SSE, which has the instruction, is part of every x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(value).cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = value;
}

#[cfg(test)]
mod tests {
    #[test]
    fn prefetching_a_value_leaves_it_as_it_was() {
        let values = vec![7_u64; 1024];
        for value in &values {
            super::prefetch(value);
        }
        assert!(values.iter().all(|value| *value == 7));
        super::prefetch(&()); // a value without a byte has an address too
    }
}
