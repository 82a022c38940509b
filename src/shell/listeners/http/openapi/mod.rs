//! What the HTTP interface accepts and answers, as an OpenAPI 3.1 document.
//!
//! Built from the same field tables and bounds that the decoder uses; a test holds the rest against the running server:
//! every path and method named here answers, with a documented status and content type.

mod cluster;
mod license;
mod schemas;

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use self::schemas::{body_schema, components};
use crate::codec::http::Operation;
use crate::codec::http::reply::PROBLEM_CONTENT_TYPE;
use crate::shell::telemetry::METRICS_CONTENT_TYPE;

/// The document as JSON text.
pub(super) fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| document().to_string())
}

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "callgate",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "May this call start?",
            "description": "Admission of calls for SIP proxies, and what operators ask of a sidecar. \
                A refused call is an answer (429), never an error. A request head that is no HTTP is answered 400, one \
                that is too large 431, both without a body, or the connection is closed; a connection above the limit is answered 503. Where tokens \
                are configured, everything but /healthz and /readyz needs one; /v1/admin/ needs one with the admin role \
                on TCP, and none on the admin socket. A token has the admission role unless its file says admin. A request \
                with an Origin header, as browsers send it, must come from a page of the host that its Host header names; \
                others are answered 403.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" }
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "token": [] }],
        "paths": paths(),
        "components": all_components()
    })
}

fn all_components() -> Value {
    let mut all = components();
    if let Some(schemas) = all["schemas"].as_object_mut() {
        license::add_schemas(schemas);
        cluster::add_schemas(schemas);
    }
    all
}

/// One answer: status, what it means, content type, schema.
type Reply = (u16, &'static str, &'static str, Value);

const JSON: &str = "application/json";

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn problem(status: u16, meaning: &'static str) -> Reply {
    (status, meaning, PROBLEM_CONTENT_TYPE, schema("Problem"))
}

fn json_reply(meaning: &'static str, name: &str) -> Reply {
    (200, meaning, JSON, schema(name))
}

fn unauthorized() -> Reply {
    problem(401, "a token is needed, or the one sent isn't known")
}

fn failed() -> Reply {
    problem(500, "the request failed inside the sidecar")
}

fn responses(mut replies: Vec<Reply>) -> Value {
    let mut all = Map::new();
    if replies.iter().all(|(status, ..)| *status != 403) {
        replies.push(problem(403, "the Origin header names another host than the Host header"));
    }
    for (status, meaning, content_type, schema) in replies {
        let mut response = json!({ "description": meaning, "content": { content_type: { "schema": schema } } });
        let header = match status {
            401 => Some(("WWW-Authenticate", json!({ "type": "string" }), "how to authenticate")),
            429 => Some((
                "Retry-After",
                json!({ "type": "integer", "minimum": 1 }),
                "seconds; absent where retrying is of no use",
            )),
            _ => None,
        };
        if let Some((name, schema, description)) = header {
            response["headers"] = json!({ name: { "description": description, "schema": schema } });
        }
        all.insert(status.to_string(), response);
    }
    Value::Object(all)
}

fn get(id: &str, summary: &str, parameters: Value, replies: Vec<Reply>) -> Value {
    json!({ "get": { "operationId": id, "summary": summary, "parameters": parameters, "responses": responses(replies) } })
}

fn post(id: &str, summary: &str, replies: Vec<Reply>) -> Value {
    json!({ "post": { "operationId": id, "summary": summary, "responses": responses(replies) } })
}

/// An operation whose fields come as JSON, form or query. The document declares the JSON body alone: that a field may
/// come here or there, but only once, and that forms and queries know no types, is more than OpenAPI can say.
fn fields(operation: Operation, id: &str, summary: &str, mut replies: Vec<Reply>) -> Value {
    replies.extend([
        problem(400, "a field can't be understood: the problem names it, what was found, and what is accepted"),
        unauthorized(),
        problem(413, "the body is too large"),
        problem(415, "the body's type can't be read"),
        problem(503, "not ready, or no room"),
    ]);
    let content = json!({ JSON: { "schema": body_schema(operation) } });
    json!({ "post": {
        "operationId": id,
        "summary": summary,
        "description": "The fields come in a JSON body, as declared here, in a form, or as query parameters of the same names; each once. \
            In a query or form a list is said by repeating its name, and a flag without a value is true. Lengths count bytes.",
        "requestBody": { "required": true, "content": content },
        "responses": responses(replies)
    } })
}

fn paths() -> Value {
    let none = || json!([]);
    let mut paths = admission_paths();
    let mut add = |path: &str, item: Value| {
        paths.insert(path.to_owned(), item);
    };
    let page = (200, "the endpoints, for people", "text/html; charset=utf-8", json!({ "type": "string" }));
    add("/", get("home", "A page that names the endpoints", none(), vec![page, unauthorized()]));
    add("/healthz", get("healthz", "The process lives", none(), vec![json_reply("it does", "Health")]));
    add(
        "/readyz",
        get(
            "readyz",
            "Requests are decided",
            none(),
            vec![json_reply("they are", "Health"), problem(503, "starting or draining")],
        ),
    );
    let metrics = (200, "OpenMetrics", METRICS_CONTENT_TYPE, json!({ "type": "string" }));
    add("/metrics", get("metrics", "Metrics", none(), vec![metrics, unauthorized(), failed()]));
    let itself = (200, "this document", JSON, json!({ "type": "object" }));
    add("/openapi.json", get("openapi", "This document", none(), vec![itself, unauthorized()]));
    add(
        "/v1/status",
        get(
            "status",
            "Counters and limits",
            none(),
            vec![json_reply("how things are", "Status"), unauthorized(), failed()],
        ),
    );
    let history = json!([{ "name": "history", "in": "query", "description": "ended alarms too", "schema": { "type": "boolean" } }]);
    add(
        "/v1/alarms",
        get(
            "alarms",
            "Active alarms",
            history,
            vec![json_reply("the alarms", "Alarms"), problem(400, "the query can't be understood"), unauthorized()],
        ),
    );
    let cursor = json!([
        { "name": "cursor", "in": "query", "description": "next_cursor of the answer before", "schema": { "type": "integer", "minimum": 0, "maximum": u64::MAX } },
        { "name": "limit", "in": "query", "description": "calls in one answer", "schema": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 } }
    ]);
    add(
        "/v1/calls",
        get(
            "calls",
            "Live calls",
            cursor,
            vec![
                json_reply("some of them", "Calls"),
                problem(400, "the query can't be understood"),
                unauthorized(),
                failed(),
            ],
        ),
    );
    let key = json!([{ "name": "key", "in": "path", "required": true, "schema": schema("Key") }]);
    add(
        "/v1/calls/{key}",
        get(
            "call",
            "One live call",
            key,
            vec![
                json_reply("the call", "Call"),
                problem(400, "that is no key"),
                unauthorized(),
                problem(404, "no live call has this key"),
            ],
        ),
    );
    let from = json!([
        { "name": "last_event_id", "in": "query", "description": "begin behind this event", "schema": { "type": "integer", "minimum": 0, "maximum": u64::MAX } },
        { "name": "Last-Event-ID", "in": "header", "description": "the same, as browsers say it", "schema": { "type": "integer", "minimum": 0, "maximum": u64::MAX } }
    ]);
    let stream = (
        200,
        "a stream that does not end; `missed` says how many events are no longer kept",
        "text/event-stream",
        json!({ "type": "string" }),
    );
    add(
        "/v1/events",
        get(
            "events",
            "What happens, as server-sent events",
            from,
            vec![
                stream,
                problem(400, "the query or header can't be understood"),
                unauthorized(),
                problem(503, "too many streams are open"),
            ],
        ),
    );
    let admin = |first: Reply| {
        vec![
            first,
            unauthorized(),
            problem(
                403,
                "administration is closed here, the token is for admission only, or the Origin is another host",
            ),
        ]
    };
    let mut reload = admin(json_reply("in force", "Reloaded"));
    reload.push((409, "refused: the old configuration stays", PROBLEM_CONTENT_TYPE, schema("ReloadRefused")));
    add("/v1/admin/reload", post("reload", "Read the configuration again", reload));
    let mut test = admin(json_reply("what happened at each destination", "AlarmTest"));
    test.push(problem(400, "the query can't be understood"));
    test.push(problem(404, "no such destination"));
    let mut test = post("testAlarms", "Send a test notice to every destination, or to one", test);
    test["post"]["parameters"] = json!([{
        "name": "destination", "in": "query", "description": "one destination alone", "schema": { "type": "string" }
    }]);
    add("/v1/admin/alarms/test", test);
    add("/v1/admin/drain", post("drain", "Refuse new calls", admin(json_reply("draining", "Draining"))));
    add("/v1/admin/undrain", post("undrain", "Decide new calls again", admin(json_reply("not draining", "Draining"))));
    license::add(&mut paths);
    cluster::add(&mut paths);
    Value::Object(paths)
}

fn admission_paths() -> Map<String, Value> {
    let mut paths = Map::new();
    for operation in Operation::ALL {
        let item = match operation {
            Operation::Admit => {
                let refused = (429, "it may not: tell the caller sip_status", JSON, schema("Decision"));
                fields(operation, "admit", "May this call start?", vec![json_reply("it may", "Decision"), refused])
            }
            Operation::Confirm => {
                fields(operation, "confirm", "It was answered", vec![json_reply("whether it was known", "Known")])
            }
            Operation::Release => fields(
                operation,
                "release",
                "It ended",
                vec![json_reply("whether there was something to release", "Released")],
            ),
            Operation::Refresh => {
                fields(operation, "refresh", "They still live", vec![json_reply("how many were known", "Refreshed")])
            }
            Operation::Proxy => {
                let replies = vec![json_reply("its calls of earlier epochs are in doubt", "Accepted")];
                fields(operation, "proxy", "A proxy has started", replies)
            }
            Operation::Resync => {
                let replies =
                    vec![json_reply("what the step did", "Resync"), problem(409, "no such resync is open"), failed()];
                fields(operation, "resync", "A proxy says which of its calls live", replies)
            }
            Operation::ReleaseCall => {
                let replies = vec![
                    json_reply("whether it was live", "Released"),
                    problem(
                        403,
                        "administration is closed here, the token is for admission only, or the Origin is another host",
                    ),
                ];
                fields(operation, "releaseCall", "An operator frees a call", replies)
            }
        };
        paths.insert(operation.path().to_owned(), item);
    }
    paths
}
