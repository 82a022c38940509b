//! Conversions between numbers, in one place, each with what it does at the edges.

/// The float next to a count. Above 2^53 the last digits go: what is counted here stays far below.
#[expect(clippy::as_conversions, reason = "f64 has no From<u64>")]
#[must_use]
pub fn float(count: u64) -> f64 {
    count as f64
}

/// A length as a float.
#[must_use]
pub fn float_len(length: usize) -> f64 {
    float(wide(length))
}

/// The nearest whole number; zero for what is negative or not a number, the largest for what is beyond it.
#[expect(clippy::as_conversions, reason = "saturates, as the doc says")]
#[must_use]
pub fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// A length as a count.
#[must_use]
pub fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A count as an index; the largest one where it does not fit, which no slice has.
#[must_use]
pub fn index(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A call's number as an index.
#[must_use]
pub fn slot(call: u32) -> usize {
    usize::try_from(call).unwrap_or(usize::MAX)
}

/// An index as a call's number. A plan holds fewer calls than that: see [`crate::plan::CALLS_MAX`].
#[must_use]
pub fn call(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
