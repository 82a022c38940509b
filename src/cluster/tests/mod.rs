//! Tests of the cluster's core: rules one by one, a pair under adversarial schedules, every schedule of a pair to a depth.

mod lending;
mod lives;
mod model;
mod pair;
mod rules;
mod world;
