//! What agents and manager say to each other, as schemas of the document: the payloads of the envelopes, with the unit and
//! the meaning of every member.
//!
//! The notation is that of [`schemas`], with a meaning behind it. What must stay true: a schema has the members of its
//! record in the protocol, no more and no less; a test holds them against each other.

use serde_json::{Map, Value, json};

use super::schemas;
use crate::protocol::{Endpoint, Typ};

/// A member: name, type, meaning.
type Member = (&'static str, &'static str, &'static str);
/// A payload or a part of one: name, meaning, members.
type Record = (&'static str, &'static str, &'static [Member]);

const HEADER: Member = ("header", "@RequestHeader", "Who asks, and when.");
const ANSWERED: Member = ("header", "@AnswerHeader", "What is answered.");
const EVAL_USED: Member = ("eval_used_s", "n", "Evaluation used so far, in seconds.");
const LAST_GRANT: Member = ("last_grant_seq", "n", "The highest `seq` of a grant that it ever held; 0 is none.");
const TAG: Member = ("tag", "s", "The entitlement tag.");
const INFO: Member = ("info", "@InstanceInfo", "Which host. What privacy withholds now, the manager erases.");
const CHAIN: Member = (
    "certificate_chain_b64",
    "[s]",
    "The id certificate and those above it, up to and without the root: DER in base64 each.",
);
const KEY_SET: Member = ("key_set", "@KeySetEnvelope", "Which issuer keys are good, signed by the root.");

const RECORDS: &[Record] = &[
    (
        "RequestHeader",
        "What every request begins with.",
        &[
            ("udi", "@Udi", "Who asks."),
            ("seq", "n", "Rises by one with each message of this instance key."),
            ("nonce", "@Nonce", "New for each try."),
            ("sent_at", "t", "When it was sent, by the agent's effective time."),
            ("agent_version", "s", "The agent's version."),
        ],
    ),
    (
        "AnswerHeader",
        "What every answer begins with.",
        &[
            ("in_reply_to", "@Nonce", "The nonce of the request."),
            ("udi", "@Udi", "Who asked."),
            ("seq", "n", "The `seq` of the request."),
            ("issued_at", "t", "When it was answered, by the manager's clock."),
            ("eval_used_s", "n", "The most evaluation that this instance has ever reported as used, in seconds."),
            (
                "next_contact_hint_s",
                "n?",
                "When the manager would like to hear from it next, in seconds from now; it may only extend a schedule.",
            ),
            ("policy_version", "n", "The version of the manager's policy."),
        ],
    ),
    (
        "InstanceInfo",
        "Which host this is, for people; what privacy withholds is null.",
        &[
            ("hostname?", "s?", "The host's name."),
            ("profile", "s", "The product profile's name."),
            ("version", "s", "The product's version."),
            ("tags", "[s]", "The names of the product's entitlement tags."),
            ("usage", "s", "`production` or `lab`."),
            ("fingerprint", "s", "A keyed hash of the machine's identity; never the identity itself."),
            (
                "removal?",
                "@RemovalEffect?",
                "What its profile makes of a removal, so that it can be said before one is confirmed.",
            ),
        ],
    ),
    (
        "RemovalEffect",
        "What a product does when the manager ends its registration, as its profile says.",
        &[
            (
                "evaluation_s",
                "n",
                "Evaluation that the profile grants in all, in seconds; what of it is used stands in the messages.",
            ),
            (
                "expired_effect",
                "s",
                "What happens once none is left: `reject_new`, `reject_new_registrations`, `config_freeze` or `notify`.",
            ),
            ("grace_s", "n", "How long after the removal nothing is refused, in seconds."),
        ],
    ),
    (
        "RegistrationRequest",
        "Registers an instance by a token.",
        &[
            HEADER,
            ("token", "s", "The registration token: by what right."),
            (
                "certificate_request_b64",
                "s",
                "PKCS#10 (RFC 2986) in base64, signed by the instance key, which signs the envelope too.",
            ),
            INFO,
            ("force", "b", "Register although the UDI is registered with another key or in another virtual account."),
            EVAL_USED,
            LAST_GRANT,
        ],
    ),
    (
        "RegistrationAnswer",
        "The instance is registered.",
        &[
            ANSWERED,
            ("instance", "s", "The manager's name for the instance."),
            ("account", "s", "The smart account's name."),
            ("virtual_account", "s", "The virtual account's name."),
            CHAIN,
            (
                "root_b64",
                "s",
                "The root's certificate, DER in base64. Trusted on first registration, or if it is the one configured.",
            ),
            ("root", "@PublicKey", "The root's public key."),
            KEY_SET,
            ("export_allowed", "b", "The token's export flag."),
        ],
    ),
    (
        "EntitlementRequest",
        "Asks for licenses: what is asked for replaces what was asked for before, and a tag left out is given back.",
        &[HEADER, ("tags", "[@TagRequest]", "What is asked for."), EVAL_USED, LAST_GRANT],
    ),
    (
        "TagRequest",
        "So many licenses of a tag.",
        &[
            TAG,
            ("requested", "n", "Licenses asked for."),
            (
                "optional?",
                "b",
                "Only if they are there: what isn't is no shortage, and an unknown tag no fault. Left out: false.",
            ),
        ],
    ),
    (
        "ReportRequest",
        "Reports use since the last report.",
        &[
            HEADER,
            ("from", "t", "The beginning of the interval."),
            ("until", "t", "Its end."),
            ("tags", "[@TagReport]", "Use by tag."),
            EVAL_USED,
            LAST_GRANT,
        ],
    ),
    (
        "TagReport",
        "Use of one tag in the interval.",
        &[
            TAG,
            ("requested", "n", "Licenses asked for."),
            ("reported", "n", "What the profile reports as used, in licenses."),
            (
                "observed_peak",
                "n",
                "The highest use observed, in licenses; above `reported` only where the profile caps it.",
            ),
            ("peak_at?", "t?", "When that was."),
            ("p95", "n", "The 95th percentile of the samples, in licenses."),
            ("samples", "n", "How many samples."),
            (
                "next?",
                "n?",
                "Licenses requested once the next change of configuration takes effect, of profiles that report current and next.",
            ),
            (
                "lent_used?",
                "n",
                "Licenses lent to other members of a cluster, and so in use there for all that the lender knows. Left out: 0.",
            ),
        ],
    ),
    (
        "GrantAnswer",
        "Answers an entitlement request, and a report.",
        &[
            ANSWERED,
            ("grant", "@Grant", "What is granted."),
            ("key_set", "@KeySetEnvelope?", "A key set newer than the one at registration."),
        ],
    ),
    (
        "Grant",
        "What a manager grants to one instance.",
        &[
            ("udi", "@Udi", "To whom."),
            ("virtual_account", "s", "From which virtual account."),
            ("seq", "n", "Rises with every grant to this instance; an agent takes none that is not above its last."),
            ("issued_at", "t", "When it was made."),
            ("expires_at", "t", "When it ends unless another comes."),
            ("status", "@Compliance", "The account's compliance, as far as it concerns this instance."),
            (
                "tags",
                "[@TagGrant]",
                "Each tag that was asked for, in that order; then those that were given back and are not acknowledged yet, or \
                 that a report did not repeat.",
            ),
            ("pools", "[@PoolView]", "The pools behind them."),
            ("overage_allowed", "b", "More may be used than granted, and is billed."),
            (
                "export_allowed",
                "b",
                "The token's flag. Export control is lifted by this and a granted export entitlement.",
            ),
            ("policy_version", "n", "The version of the manager's policy."),
        ],
    ),
    (
        "TagGrant",
        "What was granted of one tag.",
        &[
            TAG,
            ("epoch", "n", "Rises whenever `granted` or `cap` changes."),
            ("granted", "n", "Licenses granted."),
            (
                "cap",
                "n",
                "Licenses that may be used: the requested count where overage is allowed, the granted one where it isn't.",
            ),
            ("status", "@TagStatus", "What became of it. `invalid`: the manager doesn't know the tag."),
            ("term_end", "t?", "When the term of what was granted ends; null is perpetual."),
        ],
    ),
    (
        "PoolView",
        "The state of a pool, for people.",
        &[
            TAG,
            ("purchased", "n", "Licenses bought and not expired."),
            ("in_use", "n", "Licenses requested by all instances."),
        ],
    ),
    (
        "RenewRequest",
        "Renews the id certificate, with a new key.",
        &[
            HEADER,
            (
                "certificate_request_b64",
                "s",
                "PKCS#10 in base64, signed by the new key; the envelope is signed by the present one.",
            ),
            INFO,
        ],
    ),
    ("RenewAnswer", "The id certificate of the new key.", &[ANSWERED, CHAIN, KEY_SET]),
    (
        "DeregistrationRequest",
        "Gives everything back.",
        &[
            HEADER,
            ("virtual_account", "s", "The virtual account to leave; in another one the instance stays registered."),
            EVAL_USED,
        ],
    ),
    ("DeregistrationAnswer", "Everything is given back.", &[ANSWERED]),
    (
        "Acknowledgement",
        "Says that an answer took effect.",
        &[HEADER, ("acknowledged", "@Acknowledged", "What happened.")],
    ),
    (
        "AcknowledgedRegistration",
        "The registration's answer was stored.",
        &[("what", "=registration", "Which of both this is."), ("instance", "s", "The instance's name in it.")],
    ),
    (
        "AcknowledgedGrant",
        "A grant of this epoch is in force: what it took away is no longer used.",
        &[
            ("what", "=grant", "Which of both this is."),
            TAG,
            ("epoch", "n", "The grant's epoch for it."),
            ("effective", "n", "Licenses that are in force."),
        ],
    ),
    ("AckAnswer", "It was noted.", &[ANSWERED]),
    (
        "Refusal",
        "A signed no. What is not signed is a failure of the way, and no answer of the manager.",
        &[
            ("in_reply_to", "@Nonce?", "The nonce of the request, if it could be read."),
            ("udi", "@Udi?", "Who asked, if it could be read."),
            ("issued_at", "t", "When, by the manager's clock."),
            ("code", "@RefusalCode", "Why it is refused."),
            ("text", "s", "The same for people, with what was found and what is accepted."),
            ("retry_after_s", "n?", "Not before so many seconds."),
            ("key_set", "@KeySetEnvelope?", "For an agent that holds none yet: which keys are good."),
            ("root", "@PublicKey?", "The root's public key, for an agent that holds none yet."),
        ],
    ),
    (
        "KeySet",
        "Which issuer keys are good, signed by the root. A set with a higher `seq` replaces one with a lower.",
        &[
            ("seq", "n", "Rises with each change."),
            ("issued_at", "t", "When it was signed."),
            ("keys", "[@SignedKey]", "The keys, 1 to 32: an old one stays until its messages have gone."),
        ],
    ),
    (
        "SignedKey",
        "An issuer key as the root vouches for it.",
        &[
            ("key", "@PublicKey", "The key."),
            ("use", "@KeyUse", "What it may sign: any answer, or those of one satellite's virtual account."),
            ("not_before", "t", "Messages issued before this are not its."),
            ("not_after", "t", "Messages issued after this are not its."),
        ],
    ),
];

/// Names of values: name, meaning, each value with its own.
type Names = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const ENUMS: &[Names] = &[
    (
        "RefusalCode",
        "Why a manager says no.",
        &[
            ("token_unknown", "no such token"),
            ("token_expired", "its time is over"),
            ("token_revoked", "somebody revoked it"),
            ("token_used_up", "it registered as many instances as it may"),
            ("token_not_for_product", "it is for other products"),
            ("token_not_from_here", "it is for other networks"),
            ("already_registered", "with another key or in another virtual account; `force` would take it over"),
            ("product_not_allowed", "the account doesn't hold this product"),
            ("machine_known", "a second identity of the same machine, without another evaluation for it"),
            ("instance_removed", "the manager doesn't know the instance, or removed it"),
            ("duplicate", "another host registered with the same identity after this one"),
            ("certificate_revoked", "the id certificate was revoked or replaced, or has expired"),
            ("replayed", "a `seq` or a nonce that was used before"),
            ("clock_skew", "`sent_at` is too far from the manager's clock"),
            ("bad_signature", "the signature is not the instance's"),
            ("bad_request", "the request cannot be understood"),
            ("busy", "too many requests; `retry_after_s` says when"),
        ],
    ),
    (
        "KeyUse",
        "What a key may sign.",
        &[("issuer", "answers and grants"), ("satellite", "the same, for one satellite's virtual account")],
    ),
];

/// The schema of what an envelope of that type carries.
const fn payload(typ: Typ) -> &'static str {
    match typ {
        Typ::Registration => "RegistrationRequest",
        Typ::Entitlement => "EntitlementRequest",
        Typ::Renew => "RenewRequest",
        Typ::Report => "ReportRequest",
        Typ::Deregistration => "DeregistrationRequest",
        Typ::Ack => "Acknowledgement",
        Typ::RegistrationAnswer => "RegistrationAnswer",
        Typ::GrantAnswer => "GrantAnswer",
        Typ::RenewAnswer => "RenewAnswer",
        Typ::DeregistrationAnswer => "DeregistrationAnswer",
        Typ::AckAnswer => "AckAnswer",
        Typ::Refusal => "Refusal",
        Typ::KeySet => "KeySet",
    }
}

/// An envelope of that type, with the schema of what `payload_b64` decodes to.
pub(super) fn envelope(typ: Typ) -> Value {
    json!({
        "allOf": [
            schemas::of("@Envelope"),
            {
                "properties": {
                    "typ": { "type": "string", "enum": [typ.name()] },
                    "payload_b64": {
                        "type": "string",
                        "contentEncoding": "base64url",
                        "contentMediaType": "application/json",
                        "contentSchema": { "$ref": format!("#/components/schemas/{}", payload(typ)) }
                    }
                }
            }
        ]
    })
}

/// What an endpoint's message is for, with its payloads by name.
pub(super) fn described(endpoint: Endpoint) -> String {
    let (request, answer) = (payload(endpoint.request()), payload(endpoint.answer()));
    let meaning = RECORDS.iter().find(|(name, ..)| *name == request).map_or("", |(_, meaning, _)| meaning);
    format!(
        "{meaning} The payload of the request is a {request}, that of the answer a {answer}; of any other status with an \
         envelope it is a Refusal."
    )
}

fn object(meaning: &str, members: &[Member]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, notation, meaning) in members {
        let bare = name.trim_end_matches('?');
        if bare.len() == name.len() {
            required.push(bare);
        }
        let mut schema = match notation.strip_prefix('=') {
            Some(value) => json!({ "type": "string", "enum": [value] }),
            None => schemas::of(notation),
        };
        let unit = schema["description"].as_str().map(|unit| format!(" In {unit}.")).unwrap_or_default();
        let unit = if notation.starts_with("t?") { " In milliseconds since 1970." } else { &unit };
        schema["description"] = json!(format!("{meaning}{unit}"));
        properties.insert(bare.to_owned(), schema);
    }
    json!({ "description": meaning, "type": "object", "properties": properties, "required": required })
}

/// The schemas by name.
pub(super) fn all() -> Map<String, Value> {
    let mut schemas: Map<String, Value> =
        RECORDS.iter().map(|(name, meaning, members)| ((*name).to_owned(), object(meaning, members))).collect();
    for (name, meaning, values) in ENUMS {
        let told: Vec<String> = values.iter().map(|(value, meaning)| format!("`{value}`: {meaning}")).collect();
        let names: Vec<&str> = values.iter().map(|(value, _)| *value).collect();
        let schema =
            json!({ "description": format!("{meaning} {}.", told.join("; ")), "type": "string", "enum": names });
        schemas.insert((*name).to_owned(), schema);
    }
    let text = |meaning: &str, pattern: &str| json!({ "description": meaning, "type": "string", "pattern": pattern });
    let own = [
        ("KeySetEnvelope", envelope(Typ::KeySet)),
        (
            "Acknowledged",
            json!({ "oneOf": [schemas::of("@AcknowledgedRegistration"), schemas::of("@AcknowledgedGrant")] }),
        ),
        (
            "Udi",
            text(
                "The unique device identifier of an instance.",
                "^PID:[A-Za-z0-9._-]{1,64},SN:[A-Z2-7]{11},UUID:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
            ),
        ),
        ("Nonce", text("Sixteen random bytes, in base64url.", "^[A-Za-z0-9_-]{22}$")),
        ("PublicKey", text("An Ed25519 public key: its 32 bytes, in base64url.", "^[A-Za-z0-9_-]{43}$")),
    ];
    schemas.extend(own.map(|(name, schema)| (name.to_owned(), schema)));
    schemas
}

#[cfg(test)]
mod tests;
