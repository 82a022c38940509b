//! Both APIs as an OpenAPI 3.1 document, made of the same table as the router.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::operation::{Content, Needs, Operation, Verb};
use super::problem::PROBLEM;
use super::{messages, operations, schemas};
use crate::protocol::{Endpoint, Typ};

const JSON: &str = "application/json";

/// The document.
pub(super) fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(make)
}

fn make() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations::all() {
        paths.entry(operation.path).or_default().insert(operation.verb.name().to_owned(), described(&operation));
    }
    for endpoint in Endpoint::ALL {
        paths.entry(endpoint.path()).or_default().insert("post".to_owned(), agents(endpoint));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "callgate license manager",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Who bought what, who may use it, and who does.",
            "description": "Operators send Authorization: Bearer with an API key, or with what POST /v1/sessions answered; on \
                the admin socket none is needed. Errors are application/problem+json (RFC 9457); 400 is what can't be \
                understood or isn't accepted, with the member, what was found and what is accepted. Lists come in pages: \
                `next` is the cursor of the next one, null at the end. Agents (tag `agent`) send and receive signed \
                envelopes, over TLS with the client certificate that their registration answered. A request head that is no \
                HTTP is answered 400 and one that is too large 431, both without a body.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" }
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "an API key (cgk_...) or a session (cgs_...)" },
                "certificate": { "type": "mutualTLS", "description": "the id certificate" }
            }
        }
    })
}

fn problem(meaning: &str) -> Value {
    json!({ "description": meaning, "content": { PROBLEM: { "schema": schemas::of("@Problem") } } })
}

fn retry_after() -> Value {
    json!({ "Retry-After": { "description": "seconds", "schema": { "type": "integer", "minimum": 1 } } })
}

fn responses(operation: &Operation) -> Value {
    let mut all = Map::new();
    let success = match operation.content {
        Content::Json(schema) => {
            json!({ "description": "done", "content": { JSON: { "schema": schemas::of(schema) } } })
        }
        Content::Text(kind) => {
            json!({ "description": "done", "content": { kind: { "schema": { "type": "string" } } } })
        }
        Content::Empty => json!({ "description": "done" }),
    };
    all.insert(operation.status.to_string(), success);
    let mut add = |status: u16, meaning: &str| {
        all.insert(status.to_string(), problem(meaning));
    };
    add(400, "something can't be understood, or isn't accepted");
    add(500, "the manager failed");
    add(503, "not available now; Retry-After says when");
    add(413, "the body is too large");
    if operation.needs != Needs::Nothing || operation.id == "login" {
        add(401, "no or no good authentication");
        add(429, "too many tries from this address");
    }
    if operation.needs != Needs::Nothing {
        add(403, "the role doesn't allow it");
        add(404, "no such object");
    }
    if operation.body.is_some() {
        add(415, "the body is not JSON");
    }
    if operation.verb != Verb::Get {
        add(409, "not in the object's present state, or no room, or to be confirmed first");
    }
    for status in ["429", "503"] {
        if let Some(response) = all.get_mut(status) {
            response["headers"] = retry_after();
        }
    }
    Value::Object(all)
}

fn described(operation: &Operation) -> Value {
    let mut parameters: Vec<Value> = operation
        .path
        .split(['{', '}'])
        .skip(1)
        .step_by(2)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } }))
        .collect();
    parameters.extend(operation.query.iter().map(|(name, notation, meaning)| {
        json!({ "name": name, "in": "query", "description": meaning, "schema": schemas::of(notation) })
    }));
    let mut item = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": ["operator"],
        "parameters": parameters,
        "responses": responses(operation),
    });
    match operation.needs {
        Needs::Nothing => item["security"] = json!([]),
        Needs::Role(role) => item["description"] = json!(format!("Needs the role {}.", role.name())),
    }
    if let Some(body) = operation.body {
        item["requestBody"] = json!({ "required": true, "content": { JSON: { "schema": schemas::of(body) } } });
    }
    item
}

fn agents(endpoint: Endpoint) -> Value {
    let envelope = |meaning: &str, typ| json!({ "description": meaning, "content": { JSON: { "schema": messages::envelope(typ) } } });
    let no = |meaning: &str| envelope(&format!("{meaning}: an envelope of type `refusal`"), Typ::Refusal);
    let answer = endpoint.answer();
    let mut replies = json!({
        "200": envelope(&format!("an envelope of type `{}`", answer.name()), answer),
        "400": no("not understood, or too far from our clock"),
        "401": no("not the instance's key or certificate"),
        "403": no("token or instance not accepted"),
        "409": no("registered otherwise, a duplicate, or a replay"),
        "413": problem("the body is too large"),
        "500": problem("the manager failed"),
        "503": no("not available now"),
    });
    // The others need a certificate; a goodbye may come without one.
    let security = match endpoint {
        Endpoint::Registration => json!([]),
        Endpoint::Deregistration => json!([{ "certificate": [] }, {}]),
        Endpoint::Entitlement | Endpoint::Renew | Endpoint::Report | Endpoint::Ack => json!([{ "certificate": [] }]),
    };
    if matches!(endpoint, Endpoint::Registration | Endpoint::Deregistration) {
        replies["429"] = no("too many messages without a certificate from this address");
        replies["429"]["headers"] = retry_after();
    }
    replies["503"]["headers"] = retry_after();
    // A body that was not sent whole is a problem, not a refusal; nor does anybody sign once the issuer key's time is over.
    for status in ["400", "503"] {
        replies[status]["content"][PROBLEM] = json!({ "schema": schemas::of("@Problem") });
    }
    let request = endpoint.request();
    json!({
        "operationId": format!("agent_{}", request.name()),
        "summary": format!("An agent's message of type `{}`", request.name()),
        "description": messages::described(endpoint),
        "tags": ["agent"],
        "security": security,
        "requestBody": { "required": true, "content": { JSON: { "schema": messages::envelope(request) } } },
        "responses": replies,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let text = document().to_string();
        let mut used = BTreeSet::new();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document().pointer(pointer).is_some(), "{pointer} is nowhere");
            used.insert(pointer.rsplit('/').next().unwrap().to_owned());
        }
        for name in document()["components"]["schemas"].as_object().unwrap().keys() {
            assert!(used.contains(name), "{name} is used nowhere");
        }
    }

    #[test]
    fn ids_of_operations_and_their_methods_on_a_path_are_unique_and_each_says_what_it_does() {
        let all: Vec<Operation> = operations::all().collect();
        let ids: BTreeSet<&str> = all.iter().map(|operation| operation.id).collect();
        assert_eq!(ids.len(), all.len());
        let places: BTreeSet<(&str, &str)> =
            all.iter().map(|operation| (operation.path, operation.verb.name())).collect();
        assert_eq!(places.len(), all.len());
        assert!(all.iter().all(|operation| !operation.summary.is_empty()));
    }

    #[test]
    fn nothing_but_health_and_login_is_open() {
        let open: Vec<&str> =
            operations::all().filter(|operation| operation.needs == Needs::Nothing).map(|one| one.path).collect();
        assert_eq!(open, ["/healthz", "/readyz", "/v1/sessions"]);
    }
}
