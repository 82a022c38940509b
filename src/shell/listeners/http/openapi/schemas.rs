//! The document's schemas.

use serde_json::{Map, Value, json};

use crate::admission::{Cause, ID_BYTES_MAX, NAME_BYTES_MAX, UNITS_MAX};
use crate::codec::http::{IDS_MAX, Operation};

fn hex_id() -> Value {
    json!({ "type": "string", "pattern": "^([0-9a-fA-F]{2})+$", "minLength": 2, "maxLength": 2 * ID_BYTES_MAX })
}

fn text_id() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": ID_BYTES_MAX })
}

fn list(items: &Value) -> Value {
    json!({ "type": "array", "items": items, "minItems": 1, "maxItems": IDS_MAX })
}

/// What a field is, in a JSON body.
fn field(name: &str) -> Value {
    let described = |mut schema: Value, meaning: &str| {
        schema["description"] = json!(meaning);
        schema
    };
    let whole = |max: u64| json!({ "type": "integer", "minimum": 0, "maximum": max });
    let named = || json!({ "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX });
    let flag = || json!({ "type": "boolean" });
    match name {
        "id" => described(text_id(), "the call's id, normally its Call-ID"),
        "id_hex" => described(hex_id(), "the same in hexadecimal, for ids that aren't UTF-8; instead of id"),
        "ids" => described(list(&text_id()), "ids"),
        "ids_hex" => described(list(&hex_id()), "ids in hexadecimal"),
        "seq" => described(whole(u64::from(u32::MAX)), "the attempt's number, normally the CSeq"),
        "trunk" => described(named(), "the trunk it comes from or goes to"),
        "tenant" => described(named(), "the tenant it belongs to"),
        "kind" => json!({ "type": "string", "enum": ["call", "registration"], "default": "call" }),
        "webrtc" => described(flag(), "it is a WebRTC session"),
        "type" => described(
            named(),
            "the session-license type; the profile's default if left out; one that nobody knows is refused (unknown-type)",
        ),
        "units" => {
            json!({ "type": "integer", "minimum": 1, "maximum": UNITS_MAX, "default": 1, "description": "units of that type" })
        }
        "emergency" => described(flag(), "never refused, always counted"),
        "priority" => described(flag(), "may use the headroom"),
        "ttl" => described(whole(u64::from(u32::MAX)), "lease in seconds; a registration's Expires"),
        "encrypted" => described(flag(), "it is encrypted"),
        "proxy" => described(named(), "the proxy that asks"),
        "deadline" => {
            described(whole(u64::MAX), "milliseconds since the Unix epoch after which the answer is of no use")
        }
        "epoch" => described(whole(u64::MAX), "any number that changes at each start of the proxy"),
        "reason" => described(json!({ "type": "string" }), "why it ended; for people, and not kept"),
        "op" => json!({ "type": "string", "enum": ["begin", "add", "end", "abort"] }),
        "token" => described(
            json!({ "type": "string", "pattern": "^(1[0-7][0-9]{18}|[0-9]{1,19})$" }),
            "what op begin answered",
        ),
        "key" => json!({ "$ref": "#/components/schemas/Key" }),
        _ => json!({}),
    }
}

/// The body of an operation.
pub(super) fn body_schema(operation: Operation) -> Value {
    let properties: Map<String, Value> =
        operation.fields().iter().map(|name| ((*name).to_owned(), field(name))).collect();
    let one_of = |names: &[&str]| names.iter().map(|name| json!({ "required": [name] })).collect::<Vec<_>>();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    match operation {
        Operation::Admit | Operation::Confirm | Operation::Release => {
            schema["oneOf"] = json!(one_of(&["id", "id_hex"]));
        }
        Operation::ReleaseCall => schema["oneOf"] = json!(one_of(&["key", "id", "id_hex"])),
        Operation::Refresh => schema["oneOf"] = json!(one_of(&["id", "id_hex", "ids", "ids_hex"])),
        Operation::Proxy => schema["required"] = json!(["proxy", "epoch"]),
        Operation::Resync => return resync_schema(),
    }
    schema
}

/// Each step of a resync has fields of its own.
fn resync_schema() -> Value {
    let step = |op: &str, needed: &[&str], ids: bool| {
        let mut properties: Map<String, Value> = needed.iter().map(|name| ((*name).to_owned(), field(name))).collect();
        properties.insert("op".to_owned(), json!({ "type": "string", "enum": [op] }));
        let required: Vec<&str> = needed.iter().copied().chain(["op"]).collect();
        let mut schema = json!({ "type": "object", "required": required, "additionalProperties": false });
        if ids {
            for name in ["ids", "ids_hex"] {
                properties.insert(name.to_owned(), field(name));
            }
            schema["oneOf"] = json!([{ "required": ["ids"] }, { "required": ["ids_hex"] }]);
        }
        schema["properties"] = Value::Object(properties);
        schema
    };
    json!({ "oneOf": [
        step("begin", &["proxy"], false),
        step("add", &["token"], true),
        step("end", &["token"], false),
        step("abort", &["token"], false),
    ] })
}

fn object(properties: Value) -> Value {
    let required: Vec<String> = properties.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn nullable(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

/// `components`.
pub(super) fn components() -> Value {
    let causes: Vec<&str> = Cause::ALL.iter().map(|cause| cause.name()).collect();
    let string = || json!({ "type": "string" });
    let boolean = || json!({ "type": "boolean" });
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    json!({
        "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        "schemas": {
            "Key": { "type": "string", "pattern": "^[0-9a-fA-F]{32}$", "description": "a call's key" },
            "Problem": {
                "type": "object",
                "description": "an error (RFC 9457); field, found and accepted are there when a field is at fault",
                "properties": {
                    "status": { "type": "integer", "minimum": 400, "maximum": 599 },
                    "title": string(), "detail": string(), "field": string(), "found": string(), "accepted": string()
                },
                "required": ["status", "title", "detail"]
            },
            "ReloadRefused": {
                "allOf": [reference("Problem"), object(json!({ "reasons": { "type": "array", "items": string() } }))]
            },
            "Decision": object(json!({
                "admitted": boolean(),
                "cause": { "type": "string", "enum": causes },
                "sip_status": { "type": "integer", "minimum": 0, "maximum": 699, "description": "0 if admitted" },
                "retry_after_s": count(),
                "lease_s": count()
            })),
            "Known": object(json!({ "known": boolean() })),
            "Released": object(json!({ "released": boolean() })),
            "Refreshed": object(json!({ "known": count() })),
            "Resync": { "anyOf": [
                object(json!({ "token": string() })),
                object(json!({ "added": count() })),
                object(json!({ "kept": count(), "adopted": count(), "released": count() })),
                object(json!({ "aborted": boolean() }))
            ] },
            "Accepted": object(json!({ "accepted": boolean() })),
            "Health": object(json!({ "status": string() })),
            "Draining": object(json!({ "draining": boolean() })),
            "Reloaded": object(json!({ "changed": { "type": "array", "items": string() } })),
            "Status": status(),
            "Alarm": object(json!({ "id": string(), "subject": string(), "severity": string(), "since": count(), "what": string() })),
            "AlarmTest": object(json!({ "results": { "type": "array", "items": object(json!({
                "destination": string(), "kind": string(), "sent": boolean(), "told": string()
            })) } })),
            "Alarms": {
                "type": "object",
                "properties": {
                    "active": { "type": "array", "items": reference("Alarm") },
                    "history": { "type": "array", "items": reference("Alarm") }
                },
                "required": ["active"]
            },
            "License": object(json!({
                "profile": string(),
                "state": string(),
                "refused": object(json!({ "calls": nullable("string"), "registrations": nullable("string"), "configuration": nullable("string") }))
            })),
            "Call": object(json!({
                "key": reference("Key"), "id": nullable("string"), "kind": string(), "phase": string(), "suspect": boolean(),
                "emergency": boolean(), "forced": boolean(), "webrtc": boolean(), "seq": nullable("integer"),
                "trunk": nullable("string"), "tenant": nullable("string"), "proxy": nullable("string"),
                "type": nullable("string"), "license_tier": nullable("string"), "units": count(),
                "admitted_at": count(), "lease_left_s": count()
            })),
            "Calls": object(json!({
                "calls": { "type": "array", "items": reference("Call") },
                "next_cursor": nullable("string")
            }))
        }
    })
}

fn status() -> Value {
    let string = || json!({ "type": "string" });
    let by_cause = || json!({ "type": "object", "additionalProperties": count() });
    let limit = object(json!({ "name": string(), "limit": nullable("integer"), "used": count(), "peak": count() }));
    let mut schema = object(json!({
        "node": string(), "version": string(), "uptime_s": count(), "phase": string(), "mode": string(),
        "draining": { "type": "boolean" },
        "calls": object(json!({ "live": count() })),
        "registrations": object(json!({ "live": count() })),
        "refused_total": by_cause(), "would_refuse_total": by_cause(),
        "limits": { "type": "array", "items": limit },
        "license": object(json!({ "state": string(), "profile": string() })),
        "alarms": { "type": "array", "items": { "$ref": "#/components/schemas/Alarm" } }
    }));
    for name in [
        "suspect_live",
        "admitted_total",
        "emergency_total",
        "forced_total",
        "untracked_total",
        "duplicates_total",
        "refusals_repeated_total",
        "reattempts_total",
        "confirmed_total",
        "released_total",
        "released_unknown_total",
        "lapsed_total",
        "suspects_freed_total",
        "resync_released_total",
        "resync_adopted_total",
        "overage_total",
    ] {
        schema["properties"][name] = count();
        if let Some(required) = schema["required"].as_array_mut() {
            required.push(json!(name));
        }
    }
    schema
}
