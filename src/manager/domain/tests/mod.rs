//! Scenarios and laws of the manager's decisions, named by behavior.

mod desk;
mod doors;
mod grants;
mod hard;
mod keeping;
mod laws;
mod operators;
mod registration;
mod time;
