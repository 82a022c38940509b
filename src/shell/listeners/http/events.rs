//! What happens, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event as Told, KeepAlive, Sse};
use axum::response::{IntoResponse, Response as Answer};
use futures_util::stream::unfold;
use hyper::StatusCode;
use serde::Deserialize;

use super::super::peers::Peer;
use super::super::shared::Shared;
use super::router::{bad_query, problem_answer};
use crate::shell::telemetry::{Delivery, Subscription};

/// How often a silent stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `?last_event_id=`, for those who can't set headers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    last_event_id: Option<u64>,
}

/// One stream's place among those that may be open; gives it back when the stream ends.
struct Place {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
}

impl Place {
    fn take(shared: &Arc<Shared>, peer: &Arc<Peer>) -> Option<Self> {
        let place = Self { shared: Arc::clone(shared), peer: Arc::clone(peer) };
        // If there are too many, dropping `place` takes it back.
        let open = shared.event_streams.fetch_add(1, Ordering::Relaxed);
        peer.streams(true);
        (open < shared.limits.event_streams_max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.peer.streams(false);
        self.shared.event_streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `GET /v1/events`
pub(super) async fn stream(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Arc<Peer>>,
    headers: HeaderMap,
    query: Result<Query<StreamQuery>, QueryRejection>,
) -> Result<Answer, Answer> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let last = match headers.get("last-event-id") {
        None => query.last_event_id,
        Some(value) => {
            let number = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
            let Some(number) = number else {
                let detail = "Last-Event-ID: accepted is the id of an event of this stream, a whole number".to_owned();
                return Err(problem_answer(StatusCode::BAD_REQUEST, "the header can't be understood", detail));
            };
            Some(number)
        }
    };
    let Some(place) = Place::take(&shared, &peer) else {
        let detail = format!("{} streams of events are open already", shared.limits.event_streams_max);
        return Err(problem_answer(StatusCode::SERVICE_UNAVAILABLE, "too many streams", detail));
    };
    let subscription = shared.context.events.subscribe_from(last);
    let told = unfold((subscription, place), |(mut subscription, place)| async move {
        let told = next(&mut subscription, &place.shared).await?;
        Some((Ok::<_, Infallible>(told), (subscription, place)))
    });
    Ok(Sse::new(told).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

async fn next(subscription: &mut Subscription, shared: &Shared) -> Option<Told> {
    let delivery = tokio::select! {
        biased;
        delivery = subscription.next() => delivery?,
        () = shared.stop.cancelled() => return None,
    };
    Some(match delivery {
        Delivery::Event(event) => {
            let data = serde_json::to_string(&*event).unwrap_or_default();
            Told::default().id(event.id.to_string()).event(event.kind.name()).data(data)
        }
        Delivery::Missed(count) => Told::default().event("missed").data(format!(r#"{{"missed":{count}}}"#)),
    })
}
