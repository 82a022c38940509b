//! Tests of chunks: rule by rule on a kind wire, and the law under whatever schedule.

mod engine;
mod law;
mod rules;
mod world;
