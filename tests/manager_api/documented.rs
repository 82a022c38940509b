//! What agents and managers say to each other, held against the document.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::protocol::{Endpoint, Envelope};
use serde_json::Value;

use super::rig::Answer;
use crate::front_ends::openapi::{fits, resolve};

/// Whether a value fits its schema and has no member that it doesn't name; envelopes are opened.
fn whole(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolve(document, schema);
    fits(document, schema, value)?;
    if let Some(carried) = schema.pointer("/allOf/1/properties/payload_b64/contentSchema") {
        let bytes =
            URL_SAFE_NO_PAD.decode(value["payload_b64"].as_str().unwrap()).map_err(|error| error.to_string())?;
        let payload: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        return whole(document, carried, &payload).map_err(|error| format!("{}: {error}", value["typ"]));
    }
    for alternatives in ["anyOf", "oneOf"] {
        if let Some(all) = schema[alternatives].as_array() {
            let mut errors = Vec::new();
            let found = all.iter().any(|one| whole(document, one, value).map_err(|error| errors.push(error)).is_ok());
            return if found { Ok(()) } else { Err(errors.join("; or ")) };
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let Some(described) = schema["properties"].get(name) else { return Err(format!("{name} isn't documented")) };
        whole(document, described, member).map_err(|error| format!("{name}: {error}"))?;
    }
    value.as_array().into_iter().flatten().try_for_each(|item| whole(document, &schema["items"], item))
}

/// Whether a request is as the document says.
pub(super) fn request(document: &Value, endpoint: Endpoint, envelope: &Envelope) -> Result<(), String> {
    let schema = &document["paths"][endpoint.path()]["post"]["requestBody"]["content"]["application/json"]["schema"];
    whole(document, schema, &serde_json::to_value(envelope).unwrap())
}

/// Whether an answer is as the document says.
pub(super) fn answer(document: &Value, endpoint: Endpoint, answer: &Answer) -> Result<(), String> {
    let described = &document["paths"][endpoint.path()]["post"]["responses"][answer.status.to_string()];
    let kind = answer.header("content-type").unwrap_or_default();
    let schema = &described["content"][kind]["schema"];
    if !schema.is_object() {
        return Err(format!("{} with {kind:?} isn't documented", answer.status));
    }
    if answer.header("retry-after").is_some() && !described["headers"]["Retry-After"].is_object() {
        return Err(format!("{} with Retry-After isn't documented", answer.status));
    }
    whole(document, schema, &answer.json())
}
