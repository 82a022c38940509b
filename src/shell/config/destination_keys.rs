//! The keys of `[[alarms.destination]]`: the rest of the table of `keys.rs`.

use super::destination::{ATTACHABLE, FACILITIES};
use super::keys::key;
use super::schema::{Key, Kind, Reload};

use Kind::{Choice, Path, Span, Text};
use Reload::Live;

pub(super) const DESTINATION: &[Key] = &[
    key(
        "alarms.destination.#.name",
        Text { bytes_max: 64 },
        Live,
        "\"ops\"",
        "Its name in metrics, logs and `callgate alarms test`.",
    ),
    key(
        "alarms.destination.#.kind",
        Choice(&["log", "syslog", "webhook", "mail"]),
        Live,
        "\"webhook\"",
        "log: this sidecar's own log. syslog: RFC 5424. webhook: HTTPS POST. mail: SMTP.",
    ),
    key(
        "alarms.destination.#.format",
        Choice(&["short", "full", "xml", "json"]),
        Live,
        "\"json\"",
        "short: one line of 160 characters. full: text. xml: see `callgate alarms xsd`. json.\nDefault: webhook json, mail full, else short.",
    ),
    key(
        "alarms.destination.#.severity",
        Choice(&["info", "warning", "major", "critical"]),
        Live,
        "\"warning\"",
        "The least severe that is told. Default: warning.",
    ),
    key(
        "alarms.destination.#.categories",
        Kind::Choices(crate::notice::Category::NAMES),
        Live,
        "[\"license\", \"admission\"]",
        "What it is told about. Default: all but operation and audit.",
    ),
    key(
        "alarms.destination.#.attach",
        Kind::Choices(ATTACHABLE),
        Live,
        "[\"license summary\"]",
        "What these commands print goes along, in format full, xml and json. Default: none.",
    ),
    key(
        "alarms.destination.#.timeout",
        Span { min_s: 1, max_s: 60 },
        Live,
        "\"10s\"",
        "How long one try may take. Default: 10s.",
    ),
    key(
        "alarms.destination.#.retry_for",
        Span { min_s: 0, max_s: 86_400 },
        Live,
        "\"15m\"",
        "How long a failed notice is tried again. Default: 15m.",
    ),
    key(
        "alarms.destination.#.address",
        Kind::SyslogAddress,
        Live,
        "\"udp://loghost:514\"",
        "syslog: unix:PATH, udp://HOST:PORT or tcp://HOST:PORT. Default: unix:/dev/log.",
    ),
    key(
        "alarms.destination.#.facility",
        Choice(FACILITIES),
        Live,
        "\"daemon\"",
        "syslog: the facility. Default: daemon.",
    ),
    key(
        "alarms.destination.#.url",
        Kind::WebhookUrl,
        Live,
        "\"https://ops.example.com/callgate\"",
        "webhook: where to POST; https, or http to this host itself.",
    ),
    key(
        "alarms.destination.#.token_file",
        Path,
        Live,
        "\"/etc/callgate/webhook.token\"",
        "webhook: a file with a bearer token in its first line.",
    ),
    key(
        "alarms.destination.#.signing_key_file",
        Path,
        Live,
        "\"/etc/callgate/webhook.key\"",
        "webhook: a file with a key; each POST is signed with HMAC-SHA256.",
    ),
    key(
        "alarms.destination.#.trust",
        Choice(&["system", "file", "system+file"]),
        Live,
        "\"system\"",
        "webhook, mail: whose certificates are believed. Default: system.",
    ),
    key(
        "alarms.destination.#.ca_file",
        Path,
        Live,
        "\"/etc/callgate/ops-ca.pem\"",
        "CA certificates in PEM, for trust = file and system+file.",
    ),
    key("alarms.destination.#.server", Kind::HostPort, Live, "\"mail.example.com:587\"", "mail: the SMTP server."),
    key(
        "alarms.destination.#.security",
        Choice(&["starttls", "tls", "none"]),
        Live,
        "\"starttls\"",
        "mail: none only to this host itself. Default: starttls.",
    ),
    key(
        "alarms.destination.#.user",
        Text { bytes_max: 256 },
        Live,
        "\"callgate\"",
        "mail: the user that the server asks for.",
    ),
    key(
        "alarms.destination.#.password_file",
        Path,
        Live,
        "\"/etc/callgate/mail.password\"",
        "mail: a file with that user's password in its first line.",
    ),
    key("alarms.destination.#.from", Kind::Mailbox, Live, "\"callgate@example.com\"", "mail: the sender."),
    key("alarms.destination.#.to", Kind::Mailboxes, Live, "[\"ops@example.com\"]", "mail: the recipients, at most 32."),
];
