//! The agent against a manager that really signs, on simulated clocks.

mod authorizing;
mod clocks;
mod counts;
mod enabling;
mod forecasts;
mod histories;
mod machines;
mod manager;
mod mending;
mod oddities;
mod registering;
mod renewing;
mod table;
mod usage;
mod world;
mod years;
