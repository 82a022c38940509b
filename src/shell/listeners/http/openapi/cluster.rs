//! The paths of the cluster.

use serde_json::{Map, Value, json};

use super::{JSON, Reply, get, json_reply, problem, responses, unauthorized};
use crate::shell::cluster::status::MEMBER_STATES;

/// Adds the paths.
pub(super) fn add(paths: &mut Map<String, Value>) {
    let said = json_reply("members and loans as this node sees them", "Cluster");
    paths.insert(
        "/v1/cluster".to_owned(),
        get("cluster", "Members, and what is lent and borrowed", json!([]), vec![said, unauthorized()]),
    );
    let node = json!({
        "type": "object",
        "properties": { "node": { "type": "string", "minLength": 1, "maxLength": 64 } },
        "required": ["node"],
        "additionalProperties": false
    });
    for (command, id, summary, body) in [
        ("drain", "clusterDrain", "Return what is borrowed, recall what is lent, and take no part", None),
        ("undrain", "clusterUndrain", "Take part again", None),
        ("forget", "clusterForget", "Give up what is kept of a member that is gone for good", Some(node)),
    ] {
        let replies: Vec<Reply> = vec![
            json_reply("done, or begun", "ClusterDone"),
            problem(400, "the body can't be understood, or names no node"),
            unauthorized(),
            problem(
                403,
                "administration is closed here, the token is for admission only, or the Origin is another host",
            ),
            problem(409, "refused: nothing changed"),
            problem(413, "the body is too large"),
            problem(503, "the cluster's driver doesn't answer"),
        ];
        let mut post = json!({ "operationId": id, "summary": summary, "responses": responses(replies) });
        if let Some(body) = body {
            post["requestBody"] = json!({ "required": true, "content": { JSON: { "schema": body } } });
        }
        paths.insert(format!("/v1/admin/cluster/{command}"), json!({ "post": post }));
    }
}

/// Adds the schemas.
pub(super) fn add_schemas(schemas: &mut Map<String, Value>) {
    let count = || json!({ "type": "integer", "minimum": 0 });
    let nullable = |kind: &str| json!({ "type": [kind, "null"] });
    let time = || json!({ "type": "integer", "minimum": 0, "description": "milliseconds since the Unix epoch" });
    let licenses = || json!({ "type": "object", "additionalProperties": { "type": "integer", "minimum": 0 } });
    let member = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string" },
            "address": { "type": "string" },
            "state": { "type": "string", "enum": MEMBER_STATES },
            "for_s": count(),
            "incarnation": nullable("integer"),
            "connected_to": nullable("string"),
            "round_trip_us": nullable("integer"),
            "certificate_expires": nullable("integer"),
            "failure": nullable("string"),
            "refused": nullable("string")
        },
        "required": ["name", "address", "state", "for_s"]
    });
    let share = json!({
        "type": "object",
        "description": "counts are licenses: five calls per second, or one session, each",
        "properties": {
            "resource": { "type": "string" },
            "kind": { "type": "string", "enum": ["rate", "session"] },
            "class": { "type": "string", "enum": ["hard", "license"] },
            "granted": count(),
            "home": count(),
            "limit_units": count(),
            "used_units": count(),
            "offered_per_second": count(),
            "starving": { "type": "boolean" },
            "limbo": count(),
            "limbo_ends_in_ms": nullable("integer"),
            "lent": licenses(),
            "recalled": licenses(),
            "reclaimed": licenses(),
            "borrowed": licenses()
        },
        "required": ["resource", "kind", "class", "granted", "home", "limit_units", "used_units", "limbo", "lent", "borrowed"]
    });
    schemas.insert(
        "Cluster".to_owned(),
        json!({
            "type": "object",
            "properties": {
                "enabled": { "type": "boolean", "description": "false: this node is alone, and nothing else is here" },
                "node": { "type": "string" },
                "listen": { "type": "string" },
                "ledger": { "type": "string" },
                "incarnation": count(),
                "draining": { "type": "boolean" },
                "drained": { "type": "boolean" },
                "census_waits_for": { "type": ["array", "null"], "items": { "type": "string" } },
                "ledger_failing": { "type": "boolean" },
                "certificate_expires": time(),
                "members": { "type": "array", "items": member },
                "resources": { "type": "array", "items": share },
                "as_of": time()
            },
            "required": ["enabled"]
        }),
    );
    let text = json!({ "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"] });
    schemas.insert("ClusterDone".to_owned(), text);
}
