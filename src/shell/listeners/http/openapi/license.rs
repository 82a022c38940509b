//! The paths of licensing.

use serde_json::{Map, Value, json};

use super::{JSON, Reply, get, json_reply, problem, responses, schema, unauthorized};
use crate::license::view::Page;

/// What an operator can do.
struct Operation {
    command: &'static str,
    id: &'static str,
    summary: &'static str,
    body: Option<Value>,
    answer: &'static str,
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn operations() -> Vec<Operation> {
    let plain = |command, id, summary| Operation { command, id, summary, body: None, answer: "LicenseDone" };
    let with = |command, id, summary, body| Operation { command, id, summary, body: Some(body), answer: "LicenseDone" };
    let number = || json!({ "type": ["integer", "null"], "minimum": 0, "maximum": 16_777_216 });
    let mut count = number();
    count["multipleOf"] = json!(5);
    count["description"] = json!("calls per second; null: as configured");
    let mut sessions = number();
    sessions["description"] = json!("sessions of the default type; null: as configured");
    let register = json!({
        "token": { "type": "string", "writeOnly": true, "description": "as the license manager showed it" },
        "force": { "type": "boolean", "default": false, "description": "also from another virtual account, or with another key" }
    });
    vec![
        plain("enable", "licenseEnable", "Switch licensing on"),
        plain("disable", "licenseDisable", "Switch licensing off"),
        with("count", "licenseCount", "License so many calls per second", object(json!({ "count": count }), &[])),
        with("sessions", "licenseSessions", "License so many sessions", object(json!({ "sessions": sessions }), &[])),
        with("register", "licenseRegister", "Register with the license manager", object(register, &["token"])),
        plain("cancel", "licenseCancel", "Forget a registration that is not answered yet"),
        plain("deregister", "licenseDeregister", "Give everything back"),
        plain("renew-auth", "licenseRenewAuth", "Ask for a new grant now"),
        plain("renew-id", "licenseRenewId", "Ask for a new id certificate now"),
        plain("report-now", "licenseReportNow", "Send a usage report now; at most once a minute"),
        Operation {
            answer: "LicenseProbe",
            ..plain("test-connection", "licenseTestConnection", "Walk the way to the license manager, step by step")
        },
        Operation {
            answer: "LicenseBackup",
            ..plain("backup", "licenseBackup", "A backup of licensing, sealed for this machine")
        },
        with(
            "restore",
            "licenseRestore",
            "Take what a backup says; on another machine its counts alone",
            json!({ "type": "object" }),
        ),
        with(
            "factory-reset",
            "licenseFactoryReset",
            "Licensing as the product is delivered; used evaluation time stays used",
            object(json!({ "keep_licensing": { "type": "boolean" } }), &["keep_licensing"]),
        ),
    ]
}

/// Adds the paths.
pub(super) fn add(paths: &mut Map<String, Value>) {
    let names: Vec<&str> = Page::ALL.into_iter().map(Page::name).collect();
    let query = json!([
        { "name": "page", "in": "query", "description": "which page", "schema": { "type": "string", "enum": names, "default": "overview" } },
        { "name": "days", "in": "query", "description": "how far a forecast looks", "schema": { "type": "integer", "minimum": 0, "maximum": u32::MAX } }
    ]);
    let away = || problem(503, "the licensing agent doesn't answer; the overview is told without it");
    let bad = || problem(400, "the query can't be understood");
    // The overview is described; other pages are for people, and grow.
    let page = json!({ "anyOf": [schema("License"), { "type": "object" }] });
    let said = (200, "the page", JSON, page);
    paths.insert(
        "/v1/license".to_owned(),
        get("license", "What licensing says", query, vec![said, bad(), unauthorized(), away()]),
    );
    let used = (200, "use by entitlement tag", JSON, json!({ "type": "object" }));
    paths.insert(
        "/v1/license/usage".to_owned(),
        get("licenseUsage", "What is used, asked for and granted", json!([]), vec![used, unauthorized(), away()]),
    );
    for Operation { command, id, summary, body, answer } in operations() {
        let replies: Vec<Reply> = vec![
            json_reply("done, or begun", answer),
            problem(400, "the body can't be understood, or says what cannot be"),
            unauthorized(),
            problem(
                403,
                "administration is closed here, the token is for admission only, or the Origin is another host",
            ),
            (409, "refused: nothing changed", super::PROBLEM_CONTENT_TYPE, schema("LicenseRefused")),
            problem(413, "the body is too large"),
            problem(500, "the request failed inside the sidecar"),
            problem(503, "the licensing agent doesn't answer"),
        ];
        let mut post = json!({ "operationId": id, "summary": summary, "responses": responses(replies) });
        if let Some(body) = body {
            post["requestBody"] = json!({ "required": true, "content": { JSON: { "schema": body } } });
        }
        paths.insert(format!("/v1/admin/license/{command}"), json!({ "post": post }));
    }
}

/// Adds the schemas.
pub(super) fn add_schemas(schemas: &mut Map<String, Value>) {
    let string = || json!({ "type": "string" });
    let open = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required });
    schemas.insert(
        "LicenseDone".to_owned(),
        open(
            json!({
                "in_progress": { "type": "boolean", "description": "its end is told by events and pages" },
                "text": string()
            }),
            &["in_progress", "text"],
        ),
    );
    schemas.insert(
        "LicenseRefused".to_owned(),
        json!({ "allOf": [schema("Problem"), open(json!({ "code": string() }), &["code"])] }),
    );
    let step = open(
        json!({
            "step": string(),
            "outcome": { "type": "string", "enum": ["passed", "failed", "skipped", "not_reached", "next"] },
            "text": string()
        }),
        &["step", "outcome", "text"],
    );
    let nullable = || json!({ "type": ["string", "null"] });
    schemas.insert(
        "LicenseProbe".to_owned(),
        open(
            json!({ "manager": nullable(), "failed": nullable(), "steps": { "type": "array", "items": step } }),
            &["manager", "failed", "steps"],
        ),
    );
    schemas.insert(
        "LicenseBackup".to_owned(),
        open(json!({ "callgate_license_backup": { "type": "integer" } }), &["callgate_license_backup"]),
    );
}
