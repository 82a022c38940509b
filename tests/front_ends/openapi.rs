//! The OpenAPI document says what the server does.

use std::collections::BTreeSet;

use serde_json::Value;

use super::rig::{Client, Rig, Timed};

fn document(rig: &Rig) -> Value {
    rig.http().exchange("GET", "/openapi.json", &[], "").json()
}

/// What `$ref` names.
pub(crate) fn resolve<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    match schema["$ref"].as_str() {
        Some(path) => document.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("{path} is nowhere")),
        None => schema,
    }
}

/// Whether a value fits the parts of JSON Schema that the document uses.
pub(crate) fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolve(document, schema);
    for alternative in ["anyOf", "oneOf"] {
        if let Some(all) = schema[alternative].as_array()
            && !all.iter().any(|one| fits(document, one, value).is_ok())
        {
            return Err(format!("{value} fits none of {all:?}"));
        }
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fits(document, part, value)?;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Null => vec![kind],
        Value::String(one) => vec![one],
        many @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            many.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect()
        }
    };
    if !kinds.contains(&kind) {
        return Err(format!("{value} is no {kinds:?}"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.get(name.as_str().unwrap()).is_none() {
            return Err(format!("{name} is missing in {value}"));
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(found) = value.get(name) {
            fits(document, property, found).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    for item in value.as_array().into_iter().flatten() {
        fits(document, &schema["items"], item)?;
    }
    if let Some(accepted) = schema["enum"].as_array()
        && !accepted.contains(value)
    {
        return Err(format!("{value} is none of {accepted:?}"));
    }
    Ok(())
}

/// Asks, and holds the answer against the document.
fn ask<S: Timed>(document: &Value, client: &mut Client<S>, method: &str, path: &str, target: &str, body: &str) -> u16 {
    let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
    let answer = client.exchange(&method.to_uppercase(), target, headers, body);
    let responses = &document["paths"][path][method]["responses"];
    let described = &responses[answer.status.to_string()];
    assert!(described.is_object(), "{method} {target} answers {}, which isn't documented: {answer:?}", answer.status);
    let content_type = answer.header("content-type").expect("a content type").to_owned();
    let schema = &described["content"][&content_type]["schema"];
    assert!(schema.is_object(), "{method} {target} {}: {content_type} isn't documented", answer.status);
    if content_type.ends_with("json")
        && let Err(error) = fits(document, schema, &answer.json())
    {
        panic!("{method} {target} {}: {error}", answer.status);
    }
    answer.status
}

#[test]
fn every_documented_operation_answers_as_documented() {
    let rig = Rig::new();
    let document = document(&rig);
    let (mut tcp, mut admin) = (rig.http(), rig.admin());
    rig.resp().ask("ADMIT.BOOL known TRUNK t PROXY p");
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            operations += 1;
            if path == "/v1/events" {
                continue;
            }
            let target = path.replace("{key}", "00000000000000000000000000000000");
            // With nothing, with what belongs there, and with nonsense.
            for query in ["", "?id=known", "?id=b", "?op=begin&proxy=p", "?op=end&token=99", "?nonsense=1", "?limit=0"]
            {
                for body in ["", r#"{"id":"known"}"#, r#"{"id":7}"#, "nonsense"] {
                    if method == "get" && !body.is_empty() {
                        continue;
                    }
                    // A refused token waits for its answer: once for each of the many commands of licensing is enough.
                    let once = path.starts_with("/v1/admin/license/");
                    if once && !query.is_empty() {
                        continue;
                    }
                    if once && !body.is_empty() {
                        ask(&document, &mut admin, method, path, &target, body);
                        continue;
                    }
                    ask(&document, &mut tcp, method, path, &format!("{target}{query}"), body);
                    ask(&document, &mut admin, method, path, &format!("{target}{query}"), body);
                }
            }
        }
    }
    assert!(operations >= 19, "{operations} operations");
    let calls = admin.exchange("GET", "/v1/calls", &[], "").json();
    assert_eq!(ask(&document, &mut admin, "get", "/v1/calls", "/v1/calls", ""), 200);
    if let Some(key) = calls["calls"][0]["key"].as_str() {
        ask(&document, &mut admin, "get", "/v1/calls/{key}", &format!("/v1/calls/{key}"), "");
    }
}

#[test]
fn every_path_of_the_page_is_documented_and_every_reference_leads_somewhere() {
    let rig = Rig::new();
    let document = document(&rig);
    let paths: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let page = rig.http().exchange("GET", "/", &[], "").body;
    for code in page.split("<code>").skip(1) {
        let path = code.split("</code>").next().unwrap().trim_start_matches("POST ");
        assert!(paths.contains(path), "{path} is on the page, and not in the document");
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer} is nowhere");
    }
    let ids: Vec<&str> = text.split("\"operationId\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an operationId is there twice");
}
