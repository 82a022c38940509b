//! Load for a call-admission sidecar, and a check of its answers while it loads.
//!
//! Everything that will be offered is drawn before the first question is sent (an open loop): a limiter that stalls cannot slow the
//! load down, and a latency counts from the instant at which the question should have been sent. What a limiter answers is checked
//! meanwhile, by what is certain only: see [`checker`].
//!
//! | module | what it holds |
//! |---|---|
//! | [`arrivals`], [`holds`], [`trace`] | when calls come, how long they last, and both as they were recorded |
//! | [`scenario`] | scenario files |
//! | [`plan`] | every call of a run, drawn |
//! | [`checker`], [`checks`] | whether a window held more than its limit, or an id was admitted twice |
//! | [`record`] | counts and latencies, in all and second by second |
//! | [`wire`] | questions to bytes, bytes to answers |
//! | [`drive`] | sockets: sends what is due, takes what comes |
//! | [`status`] | the limiter's own figures, meanwhile |
//! | [`report`] | results as text, JSON and a page with plots |
//! | [`compare`], [`stats`] | two results beside each other |
//! | [`run`], [`cli`], [`bar`] | one run, from its file to its report; arguments; the progress bar |
//! | [`peers`], [`echo`], [`pin`] | other servers under the same work, pinned alike |
//!
//! It knows callgate's protocols and nothing of its code: anyone could have written it.

pub mod arrivals;
pub mod bar;
pub mod call_id;
pub mod checker;
pub mod checks;
pub mod cli;
pub mod clock;
pub mod compare;
pub mod drive;
pub mod echo;
pub mod holds;
pub mod num;
pub mod peers;
pub mod pin;
pub mod plan;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
pub mod span;
pub mod stats;
pub mod status;
pub mod target;
pub mod trace;
pub mod wire;
