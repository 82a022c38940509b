//! The document's schemas, in a notation of their own.
//!
//! A type is `s` (text), `sN` (text of 1 to N characters), `n` (a whole number from 0), `n1000` (1 to 1000), `z365` (0 to
//! 365), `i`, `b`, `t` (milliseconds since 1970), `any`, `@Name` (a schema), `[T]` (a list); `?` behind it: or null. A member whose name ends
//! in `?` may be left out.

use serde_json::{Map, Value, json};

use super::messages;

/// A member: name and type.
type Member = (&'static str, &'static str);

const ENUMS: &[(&str, &[&str])] = &[
    ("Role", &["viewer", "operator", "license_admin", "owner"]),
    ("OocScope", &["all_in_pool", "offender_only", "priority"]),
    ("EvalPolicy", &["allow", "deny", "ask"]),
    ("TagClass", &["license", "hard"]),
    ("TokenState", &["active", "used_up", "expired", "revoked"]),
    ("InstanceState", &["registered", "stale", "duplicate", "deregistered", "removed", "expired"]),
    ("Compliance", &["in_compliance", "out_of_compliance"]),
    ("TagStatus", &["in_compliance", "out_of_compliance", "invalid"]),
    ("ReportKind", &["inventory", "compliance_warning", "consumption"]),
    ("Severity", &["info", "warning", "major", "critical"]),
    ("UsageBy", &["hour", "day", "range"]),
    ("KeyState", &["active", "retiring", "revoked"]),
];

/// What clients send: unknown members are refused.
const REQUESTS: &[(&str, &[Member])] = &[
    ("Login", &[("name", "s"), ("password", "s")]),
    ("NewVirtualAccount", &[("name", "s128"), ("description?", "s")]),
    (
        "PolicyPatch",
        &[
            ("name?", "s128?"),
            ("default_virtual_account?", "@VirtualAccountId?"),
            ("ooc_scope?", "@OocScope?"),
            ("overage?", "@Overage?"),
            ("eval_policy?", "@EvalPolicy?"),
            ("export_permitted?", "b?"),
            ("reservation_allowed?", "b?"),
            ("products?", "[s]?"),
            ("token_days?", "n365?"),
            ("report_days?", "z365?"),
        ],
    ),
    (
        "NewTag",
        &[
            ("tag", "s128"),
            ("display_name", "s128"),
            ("description?", "s"),
            ("class?", "@TagClass"),
            ("tier?", "@Tier?"),
            ("overage?", "@Overage?"),
        ],
    ),
    ("Tier", &[("family", "s128"), ("level", "n255")]),
    (
        "NewLot",
        &[
            ("virtual_account?", "@VirtualAccountId?"),
            ("tag", "s128"),
            ("quantity", "n1000000000000"),
            ("start?", "t?"),
            ("end?", "t?"),
            ("note?", "s"),
        ],
    ),
    ("TransferLicenses", &[("to", "@VirtualAccountId"), ("quantity", "n1000000000000")]),
    (
        "NewToken",
        &[
            ("virtual_account?", "@VirtualAccountId?"),
            ("days?", "n365?"),
            ("max_uses?", "n1000000000?"),
            ("export_allowed?", "b?"),
            ("products?", "[s]"),
            ("networks?", "[s]"),
            ("note?", "s"),
        ],
    ),
    ("InstancePatch", &[("priority?", "n255?"), ("note?", "s?")]),
    ("MoveTo", &[("to", "@VirtualAccountId")]),
    ("Rehost", &[("prepare", "b")]),
    ("AllowMachine", &[("fingerprint", "s"), ("allow", "b")]),
    ("RunReport", &[("kind", "@ReportKind"), ("virtual_account?", "@VirtualAccountId?")]),
    ("Acknowledge", &[("alert", "s")]),
    ("NewUser", &[("name", "s128"), ("role", "@Role"), ("password", "@Password")]),
    ("UserPatch", &[("role?", "@Role?"), ("disabled?", "b?")]),
    ("SetPassword", &[("password", "@Password")]),
    ("ChangePassword", &[("old", "s"), ("password", "@Password")]),
    ("NewApiKey", &[("name", "s128"), ("role", "@Role"), ("days?", "n3650?")]),
    ("Envelope", &[("alg", "s"), ("kid", "s"), ("typ", "s"), ("payload_b64", "s"), ("sig", "s")]),
];

/// What the manager answers: later versions may add members.
const ANSWERS: &[(&str, &[Member])] = &[
    ("Health", &[("status", "s")]),
    ("Session", &[("secret", "s"), ("name", "s"), ("role", "@Role"), ("expires_at", "t")]),
    ("Whoami", &[("name", "s"), ("role", "@Role"), ("address", "s?")]),
    (
        "Status",
        &[
            ("version", "s"),
            ("now", "t"),
            ("not_ready", "s?"),
            ("virtual_accounts", "n"),
            ("instances", "any"),
            ("tokens", "n"),
            ("alerts", "n"),
            ("pools_short", "n"),
            ("issuer", "s"),
            ("root", "s"),
            ("root_key_here", "b"),
            ("rotation_due_at", "t"),
            ("issuer_ends", "t?"),
            ("certificate_ends", "t?"),
        ],
    ),
    (
        "Account",
        &[
            ("name", "s"),
            ("default_virtual_account", "@VirtualAccountId"),
            ("policy_version", "n"),
            ("ooc_scope", "@OocScope"),
            ("overage", "@Overage"),
            ("eval_policy", "@EvalPolicy"),
            ("export_permitted", "b"),
            ("reservation_allowed", "b"),
            ("products", "[s]"),
            ("token_days", "n"),
            ("created_at", "t"),
            ("restores", "n"),
        ],
    ),
    (
        "VirtualAccount",
        &[
            ("id", "@VirtualAccountId"),
            ("name", "s"),
            ("description", "s"),
            ("is_default", "b"),
            ("instances", "n"),
            ("status", "@Compliance"),
            ("created_at", "t"),
        ],
    ),
    (
        "Tag",
        &[
            ("tag", "s"),
            ("display_name", "s"),
            ("description", "s"),
            ("class", "@TagClass"),
            ("tier", "@Tier?"),
            ("overage", "@Overage?"),
        ],
    ),
    (
        "License",
        &[
            ("virtual_account", "@VirtualAccountId"),
            ("tag", "s"),
            ("display_name", "s"),
            ("class", "@TagClass"),
            ("tier", "@Tier?"),
            ("purchased", "n"),
            ("in_use", "n"),
            ("held", "n"),
            ("reserved", "n"),
            ("in_transit", "n"),
            ("balance", "i"),
            ("substituted", "n"),
            ("shortage", "n"),
            ("status", "@Compliance"),
            ("next_end", "t?"),
        ],
    ),
    (
        "Lot",
        &[
            ("id", "s"),
            ("virtual_account", "@VirtualAccountId"),
            ("tag", "s"),
            ("quantity", "n"),
            ("start", "t"),
            ("end", "t?"),
            ("active", "b"),
            ("note", "s"),
            ("created_at", "t"),
            ("split_from", "s?"),
        ],
    ),
    (
        "Transfer",
        &[
            ("at", "t"),
            ("actor", "s"),
            ("from", "@VirtualAccountId"),
            ("to", "@VirtualAccountId"),
            ("tag", "s"),
            ("quantity", "n"),
            ("lot", "s"),
            ("new_lot", "s"),
        ],
    ),
    ("Token", TOKEN),
    ("MadeToken", &[("id", "s"), ("secret", "s"), ("state", "@TokenState"), ("expires_at", "t")]),
    (
        "Instance",
        &[
            ("id", "s"),
            ("udi", "s"),
            ("virtual_account", "@VirtualAccountId"),
            ("state", "@InstanceState"),
            ("state_since", "t"),
            ("hostname", "s?"),
            ("address", "s?"),
            ("profile", "s"),
            ("version", "s"),
            ("agent_version", "s"),
            ("usage", "s"),
            ("export_allowed", "b"),
            ("priority", "n"),
            ("note", "s"),
            ("registered_at", "t"),
            ("last_contact", "t"),
            ("last_report", "t?"),
            ("key_id", "s"),
            ("certificate", "@Certificate"),
            ("grant_seq", "n"),
            ("grant_expires_at", "t?"),
            ("entitlements", "[@Entitlement]"),
            ("eval_used_s", "n"),
            ("rehost_prepared_at", "t?"),
        ],
    ),
    ("Certificate", &[("serial", "s"), ("not_before", "t"), ("not_after", "t")]),
    (
        "Entitlement",
        &[
            ("tag", "s"),
            ("requested", "n"),
            ("granted", "n"),
            ("cap", "n"),
            ("held", "n"),
            ("epoch", "n"),
            ("status", "@TagStatus"),
            ("last_use", "any"),
        ],
    ),
    (
        "RemovalPreview",
        &[
            ("instance", "s"),
            ("udi", "s"),
            ("hostname", "s?"),
            ("releases", "[any]"),
            ("held_back", "[any]"),
            ("effect", "s"),
            ("may_refuse_calls", "b"),
            ("confirm", "s"),
        ],
    ),
    (
        "InstanceEvent",
        &[
            ("at", "t"),
            ("instance", "s"),
            ("udi", "s"),
            ("what", "s"),
            ("virtual_account", "@VirtualAccountId"),
            ("state", "@InstanceState"),
            ("detail", "s"),
        ],
    ),
    (
        "Usage",
        &[
            ("instance", "s"),
            ("virtual_account", "@VirtualAccountId"),
            ("tag", "s"),
            ("from", "t"),
            ("until", "t"),
            ("requested", "n"),
            ("reported", "n"),
            ("observed_peak", "n"),
            ("peak_at", "t?"),
            ("p95", "n"),
            ("samples", "n"),
            ("next", "n?"),
            ("received_at", "t"),
        ],
    ),
    (
        "UsageDay",
        &[
            ("instance", "s"),
            ("virtual_account", "@VirtualAccountId"),
            ("tag", "s"),
            ("day", "t"),
            ("reports", "n"),
            ("requested", "n"),
            ("reported", "n"),
            ("observed_peak", "n"),
            ("p95", "n"),
            ("samples", "n"),
        ],
    ),
    (
        "UsagePool",
        &[
            ("virtual_account", "@VirtualAccountId"),
            ("tag", "s"),
            ("from", "t"),
            ("until", "t"),
            ("reports", "n"),
            ("instances", "n"),
            ("requested", "n"),
            ("reported", "n"),
            ("peak", "n"),
            ("peak_at", "t"),
            ("p95", "n"),
        ],
    ),
    ("ReportHead", &[("id", "s"), ("kind", "s"), ("at", "t")]),
    (
        "Report",
        &[
            ("id", "s"),
            ("kind", "@ReportKind"),
            ("virtual_account", "@VirtualAccountId?"),
            ("at", "t"),
            ("actor", "s"),
            ("pools", "[any]"),
            ("instances", "[any]"),
            ("instances_left_out", "n"),
        ],
    ),
    (
        "Alert",
        &[
            ("id", "s"),
            ("kind", "s"),
            ("severity", "@Severity"),
            ("source", "s"),
            ("virtual_account", "@VirtualAccountId?"),
            ("text", "s"),
            ("action", "s"),
            ("due", "t?"),
            ("raised_at", "t"),
            ("acknowledged", "any"),
        ],
    ),
    ("AlertTest", &[("results", "[@AlertTestResult]")]),
    ("AlertTestResult", &[("destination", "s"), ("kind", "s"), ("sent", "b"), ("told", "s")]),
    ("AlertEnded", &[("at", "t"), ("alert", "@Alert")]),
    (
        "AuditEntry",
        &[
            ("seq", "n"),
            ("at", "t"),
            ("actor", "s"),
            ("address", "s?"),
            ("action", "s"),
            ("target", "s"),
            ("detail", "s"),
            ("previous", "s"),
            ("hash", "s"),
        ],
    ),
    ("AuditVerified", &[("whole", "b"), ("entries", "n?"), ("head", "s?"), ("broken", "s?")]),
    (
        "User",
        &[("id", "s"), ("name", "s"), ("role", "@Role"), ("disabled", "b"), ("created_at", "t"), ("password_at", "t")],
    ),
    ("ApiKey", API_KEY),
    ("MadeApiKey", &[("id", "s"), ("secret", "s"), ("name", "s"), ("role", "@Role"), ("prefix", "s")]),
    (
        "Keys",
        &[
            ("root", "any"),
            ("key_set_seq", "n"),
            ("active", "s"),
            ("rotation_due", "b"),
            ("rotation_due_at", "t"),
            ("issuer_ends", "t?"),
            ("items", "[@Key]"),
        ],
    ),
    (
        "Key",
        &[
            ("kid", "s"),
            ("key", "s"),
            ("key_use", "s?"),
            ("not_before", "t"),
            ("not_after", "t"),
            ("state", "@KeyState"),
            ("created_at", "t"),
        ],
    ),
    ("Rotated", &[("active", "s"), ("key_set_seq", "n")]),
    ("Backup", &[("file", "s"), ("created_at", "t"), ("rows", "n"), ("sha256", "s")]),
    (
        "Problem",
        &[
            ("status", "n"),
            ("title", "s"),
            ("detail", "s"),
            ("field?", "s"),
            ("found?", "s"),
            ("accepted?", "s"),
            ("preview?", "@RemovalPreview"),
        ],
    ),
];

const TOKEN: &[Member] = &[
    ("id", "s"),
    ("virtual_account", "@VirtualAccountId"),
    ("state", "@TokenState"),
    ("max_uses", "n?"),
    ("uses", "n"),
    ("created_at", "t"),
    ("expires_at", "t"),
    ("export_allowed", "b"),
    ("products", "[s]"),
    ("networks", "[s]"),
    ("note", "s"),
    ("created_by", "s"),
    ("revoked_at", "t?"),
    ("last_used_at", "t?"),
];

const API_KEY: &[Member] = &[
    ("id", "s"),
    ("name", "s"),
    ("role", "@Role"),
    ("prefix", "s"),
    ("created_by", "s"),
    ("created_at", "t"),
    ("expires_at", "t?"),
    ("revoked_at", "t?"),
];

/// A type of the notation as JSON Schema.
pub(super) fn of(notation: &str) -> Value {
    if let Some(inner) = notation.strip_suffix('?') {
        return json!({ "anyOf": [of(inner), { "type": "null" }] });
    }
    if let Some(name) = notation.strip_prefix('@') {
        return json!({ "$ref": format!("#/components/schemas/{name}") });
    }
    if let Some(item) = notation.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return json!({ "type": "array", "items": of(item) });
    }
    if let Some(item) = notation.strip_prefix("page ") {
        return object(&[("items", &format!("[@{item}]")), ("next", "s?")], false);
    }
    match notation {
        "s" => json!({ "type": "string" }),
        "b" => json!({ "type": "boolean" }),
        "i" => json!({ "type": "integer" }),
        "n" => json!({ "type": "integer", "minimum": 0 }),
        "t" => {
            json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX, "description": "milliseconds since 1970" })
        }
        _ => bounded(notation),
    }
}

fn bounded(notation: &str) -> Value {
    let number = |prefix: char| notation.strip_prefix(prefix).and_then(|digits| digits.parse::<u64>().ok());
    if let Some(max) = number('s') {
        return json!({ "type": "string", "minLength": 1, "maxLength": max });
    }
    if let Some(max) = number('z') {
        return json!({ "type": "integer", "minimum": 0, "maximum": max });
    }
    // 255 is a byte's: it may be 0.
    number('n')
        .map_or_else(|| json!({}), |max| json!({ "type": "integer", "minimum": u8::from(max != 255), "maximum": max }))
}

fn object(members: &[(&str, &str)], strict: bool) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, notation) in members {
        let bare = name.trim_end_matches('?');
        if bare.len() == name.len() {
            required.push(bare);
        }
        properties.insert(bare.to_owned(), of(notation));
    }
    let mut object = json!({ "type": "object", "properties": properties, "required": required });
    if strict {
        object["additionalProperties"] = json!(false);
    }
    object
}

/// All named schemas.
pub(super) fn all() -> Value {
    let mut schemas = Map::new();
    for (name, values) in ENUMS {
        schemas.insert((*name).to_owned(), json!({ "type": "string", "enum": values }));
    }
    for (list, strict) in [(REQUESTS, true), (ANSWERS, false)] {
        for (name, members) in list {
            schemas.insert((*name).to_owned(), object(members, strict));
        }
    }
    let own = [
        ("VirtualAccountId", json!({ "type": "string", "pattern": "^va-[0-9a-f]{16}$" })),
        ("Password", json!({ "type": "string", "minLength": 12, "maxLength": 256 })),
        (
            "Overage",
            json!({
                "type": "object",
                "properties": {
                    "overage_strategy": { "anyOf": [
                        { "type": "string", "enum": ["allow", "deny"] },
                        {
                            "type": "object",
                            "properties": { "percentage": { "type": "integer", "minimum": 0, "maximum": 1000 } },
                            "required": ["percentage"],
                            "additionalProperties": false
                        }
                    ] },
                    "tolerance_minutes": { "type": "integer", "minimum": 0, "maximum": u32::MAX },
                    "billed": { "type": "boolean" }
                },
                "required": ["overage_strategy"],
                "additionalProperties": false
            }),
        ),
    ];
    schemas.extend(own.map(|(name, schema)| (name.to_owned(), schema)));
    schemas.extend(messages::all());
    Value::Object(schemas)
}
