//! What must not run on a reactor: it walks whole tables. Its connection waits for it in order; the others go on.

use std::sync::Arc;

use super::super::shared::Shared;
use super::super::status;
use super::info;
use crate::admission::ResyncToken;
use crate::codec::resp::reply;

/// A command for a thread of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Job {
    /// `RESYNC END`.
    ResyncEnd(ResyncToken),
    /// `STATUS`.
    Status,
    /// `INFO`, with the section's name in lower case.
    Info(Option<Vec<u8>>),
}

/// Runs it, and returns its answer.
pub(super) async fn run(job: Job, shared: &Arc<Shared>) -> Vec<u8> {
    let shared = Arc::clone(shared);
    let answer = tokio::task::spawn_blocking(move || {
        let mut out = Vec::new();
        answer(&job, &shared, &mut out);
        out
    });
    answer.await.unwrap_or_else(|_| b"-ERR the command failed inside the sidecar\r\n".to_vec())
}

fn answer(job: &Job, shared: &Shared, out: &mut Vec<u8>) {
    let context = &shared.context;
    match job {
        Job::ResyncEnd(token) => match context.gate.resync_end(*token, context.clock.now()) {
            Ok(outcome) => {
                shared.tell_resync(Some(outcome));
                reply::array(out, 3);
                for count in [outcome.kept, outcome.adopted, outcome.released] {
                    reply::integer(out, u64::from(count));
                }
            }
            Err(error) => reply::error(out, "ERR", &error),
        },
        Job::Status => reply::bulk(out, status::json(shared).as_bytes()),
        Job::Info(section) => reply::bulk(out, info::info(shared, section.as_deref()).as_bytes()),
    }
}
