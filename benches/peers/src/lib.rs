//! Nothing: the comparisons are in `benches/`.
