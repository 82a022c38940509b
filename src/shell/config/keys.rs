//! The table of keys: what each means to an operator. Order is the order of the default file.

use super::cluster::KEYS as CLUSTER;
use super::destination_keys::DESTINATION;
use super::etcd::KEYS as ETCD;
use super::schema::{Key, Kind, Reload, Section};

use Kind::{Addresses, Bool, Choice, FileMode, HostName, Integer, LicensedRate, Path, Size, Span, Switched, Text};
use Reload::{Live, Restart};

use crate::units::CALL_RATE_MAX;

/// All keys: those below, and those of destinations.
pub(super) const KEYS: &[Key] = &JOINED;

const JOINED: [Key; OWN.len() + CLUSTER.len() + ETCD.len() + DESTINATION.len()] = {
    let parts = [OWN, CLUSTER, ETCD, DESTINATION];
    let mut all = [OWN[0]; OWN.len() + CLUSTER.len() + ETCD.len() + DESTINATION.len()];
    let (mut place, mut part, mut within) = (0, 0, 0);
    while place < all.len() {
        if within == parts[part].len() {
            (part, within) = (part + 1, 0);
        }
        all[place] = parts[part][within];
        within += 1;
        place += 1;
    }
    all
};

pub(super) const fn key(
    path: &'static str,
    kind: Kind,
    reload: Reload,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key { path, kind, reload, example, doc }
}

const fn count(of: &'static str) -> Kind {
    Integer { min: 0, max: 16_777_216, of }
}

const CPS: Kind = Integer { min: 0, max: CALL_RATE_MAX, of: "calls per second" };
const LEASE: Kind = Span { min_s: 1, max_s: 30 * 86_400 };
const MEMORY: Kind = Span { min_s: 0, max_s: 600 };
const RETRY: Kind = Span { min_s: 0, max_s: 3_600 };

const ALLOCATED: Reload = Restart("the table of that size is allocated at start");
const LISTENS: Reload =
    Restart("front ends bind their addresses at start; a new address would drop the connections of the old one");
const BOUNDS: Reload = Restart("front ends take their bounds at start");
const THREADS: Reload = Restart("the threads are made at start");
const JOURNAL: Reload = Restart("the journal is laid out at start");

/// The most `[[trunk]]` entries, and the most `[[tenant]]` entries.
pub(super) const GROUPS_MAX: usize = 10_000;
/// The most addresses of one front end.
pub(super) const ADDRESSES_MAX: usize = 16;
/// The most further license types.
pub(super) const TYPES_MAX: usize = 64;

pub(super) const SECTIONS: &[Section] = &[
    Section { path: "node", doc: "This host." },
    Section { path: "license", doc: "What is licensed, and what the product profile makes of it." },
    Section {
        path: "license.ports.*",
        doc: "Ports, for products that license configured capacity (ncs540), counted once a day. One section for each.",
    },
    Section {
        path: "license.types.*",
        doc: "Further session-license types, which a call names with TYPE. One section for each.",
    },
    Section { path: "admission", doc: "How calls are decided." },
    Section { path: "admission.trunk_default", doc: "What a trunk gets that has no [[trunk]] of its own." },
    Section { path: "admission.tenant_default", doc: "What a tenant gets that has no [[tenant]] of its own." },
    Section {
        path: "admission.leases",
        doc: "How long a call's slot is held without news of it, and how long ended calls are remembered.\n\
              Choose leases longer than the proxy's own dialog timeout: a lapsed lease frees the slot of a call that may still talk.",
    },
    Section {
        path: "admission.export_control",
        doc: "A cap on calls and registrations together, for builds under export control.",
    },
    Section {
        path: "admission.status.*",
        doc: "What a refused caller is told, by cause. sip_status: 400 to 699. retry_after: the least Retry-After\n\
              (0: no such header); up to `spread` is added at random, so that callers do not come back together.",
    },
    Section {
        path: "trunk.#",
        doc: "Limits of one trunk, which a call names with TRUNK. One [[trunk]] for each, at most 10000.",
    },
    Section {
        path: "tenant.#",
        doc: "Limits of one tenant, which a call names with TENANT. One [[tenant]] for each, at most 10000.",
    },
    Section {
        path: "listen",
        doc: "Front ends. Anything beyond loopback needs authentication: resp a password_file, http a tokens_file.\n\
              The admin socket (admin.sock in data_dir, mode 0600) is always on.",
    },
    Section { path: "journal", doc: "Calls survive a crash or restart of the sidecar." },
    Section {
        path: "cluster",
        doc: "Peers that lend one another licenses, so that a skewed load uses what all of them hold.",
    },
    Section {
        path: "cluster.peers.*",
        doc: "The other members, by the names in their certificates. One section for each.",
    },
    Section {
        path: "cluster.parameters",
        doc: "How lending goes about. The defaults come from simulations; all members should have the same.",
    },
    Section {
        path: "cluster.etcd",
        doc: "Where etcd is, with ledger = \"etcd\". A node that loses etcd goes on with its chunk until the chunk's term ends.",
    },
    Section { path: "alarms", doc: "Where alarms go, raised and cleared." },
    Section {
        path: "alarms.destination.#",
        doc: "Further places to tell alarms to. One [[alarms.destination]] for each, at most 32; `callgate alarms test` tries them.\n\
              A key that belongs to another kind is not used, and warned of.",
    },
    Section { path: "telemetry", doc: "Logs. They go to stderr." },
];

const OWN: &[Key] = &[
    key(
        "node.name",
        HostName,
        Restart("metrics, alarms and peers know this node by its name"),
        "\"sip-a\"",
        "Its name in logs, metrics and alarms. Default: the host's name.",
    ),
    key(
        "node.data_dir",
        Path,
        Restart("the journal, the evaluation account and the sockets live there"),
        "\"/var/lib/callgate\"",
        "The state directory: sockets, journal, evaluation account. One sidecar each.\nDefault: $STATE_DIRECTORY (systemd sets it), else $XDG_STATE_HOME/callgate, else ~/.local/state/callgate.",
    ),
    key(
        "node.max_call_rate",
        Integer { min: 5, max: CALL_RATE_MAX, of: "calls per second" },
        Live,
        "",
        "Calls per second that this host can handle: the ceiling of license.count.\nA reload can lower it, and raise it up to what it was at start.",
    ),
    key(
        "license.profile",
        Kind::Profile,
        Restart("the profile rules the license account, which is opened at start"),
        "",
        "The product profile: open, cusp, cccsp, expressway, ccx or ncs540, or the path of a profile file of your own.",
    ),
    key(
        "license.enabled",
        Bool,
        Live,
        "true",
        "Licensing is on. Off, the profile says what happens: cusp and cccsp refuse new calls, the others admit.\nDefault: as the profile says (open, expressway, ncs540: true; cusp, cccsp, ccx: false).",
    ),
    key(
        "license.count",
        LicensedRate,
        Live,
        "",
        "Calls per second to license: a multiple of 5 (one license covers 5), at most node.max_call_rate.",
    ),
    key(
        "license.sessions",
        count("sessions"),
        Live,
        "500",
        "Concurrent session licenses of the default type. Default: not limited.",
    ),
    key(
        "license.overage",
        Bool,
        Live,
        "true",
        "true: sessions above their count are admitted, counted and alarmed. false: they are refused.\nDefault: as the profile says (the shipped ones: true). Only open and ccx let it be changed.",
    ),
    key(
        "license.rate_cap",
        Choice(&["enforce", "observe"]),
        Live,
        "\"enforce\"",
        "enforce: calls above license.count per second are refused. observe: they are admitted and counted.\nDefault: as the profile says (open, cusp, cccsp: enforce; expressway, ccx, ncs540: observe).",
    ),
    key(
        "license.url",
        Kind::ManagerUrl,
        Live,
        "\"https://lm.example.com\"",
        "The license manager: https, a host that its certificate names, perhaps a port and a path.\nDefault: none is asked.",
    ),
    key(
        "license.transport",
        Choice(&["direct", "on_prem", "proxy"]),
        Live,
        "",
        "The way there. direct: a manager in the cloud (needs DNS). on_prem: one on the premises. proxy: through\nlicense.proxy. Some profiles let it change only while not registered.",
    ),
    key(
        "license.trust",
        Choice(&["system", "file", "system+file", "pin_spki"]),
        Live,
        "",
        "Which certificates of the manager are believed: those that lead to the host's own store, to ca_file, to\neither; or those whose key pin_spki names.",
    ),
    key(
        "license.ca_file",
        Path,
        Live,
        "\"/etc/callgate/lm-ca.pem\"",
        "CA certificates in PEM, for trust = file and system+file.",
    ),
    key(
        "license.pin_spki",
        Kind::Pins,
        Live,
        "\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"",
        "SHA-256 hashes of the manager's public keys (RFC 7469) with commas between, for trust = pin_spki.",
    ),
    key(
        "license.proxy",
        Kind::Proxy,
        Live,
        "\"http://proxy.example.com:3128\"",
        "The proxy, for transport = proxy: a URL (http or https), or an IP address or name with a port.",
    ),
    key("license.proxy_user", Text { bytes_max: 256 }, Live, "\"callgate\"", "The user that the proxy asks for."),
    key(
        "license.proxy_password_file",
        Path,
        Live,
        "\"/etc/callgate/proxy.password\"",
        "A file with that user's password in its first line.",
    ),
    key(
        "license.proxy_ca_file",
        Path,
        Live,
        "\"/etc/callgate/proxy-ca.pem\"",
        "CA certificates in PEM for an HTTPS proxy, beside the host's own.",
    ),
    key(
        "license.timeout",
        Span { min_s: 1, max_s: 300 },
        Live,
        "",
        "How long a request to the manager may take, its answer included.",
    ),
    key(
        "license.share_hostname",
        Bool,
        Live,
        "",
        "false: the manager is not told this host's name, and forgets it at the next renewal.",
    ),
    key(
        "license.hostname_auto_renew",
        Bool,
        Live,
        "",
        "A new host name renews the registration by itself. false: an alarm reminds of it.",
    ),
    key(
        "license.usage",
        Choice(&["production", "lab"]),
        Live,
        "",
        "lab: licenses for tests are asked for. Chosen before registration.",
    ),
    key(
        "license.retry_jitter",
        Bool,
        Live,
        "",
        "Spread retries by 10 % either way, so that a fleet does not come back at once.",
    ),
    key(
        "license.stable_id",
        Text { bytes_max: 256 },
        Restart("the license state is sealed with it"),
        "\"site-7-host-2\"",
        "An identity of this machine that stays, for containers whose machine-id changes. Default: the machine-id.",
    ),
    key(
        "license.root_key",
        Kind::RootKey,
        Live,
        "\"O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik\"",
        "The manager's root key. Default: the one of the first registration is trusted from then on.",
    ),
    key("license.ports.*.gbps", Integer { min: 1, max: 10_000, of: "gigabits per second" }, Live, "100", "Its speed."),
    key(
        "license.ports.*.features",
        Text { bytes_max: 512 },
        Live,
        "\"l3vpn, segment-routing\"",
        "The advanced features that are on, with commas between. Default: none.",
    ),
    key("license.ports.*.active", Bool, Live, "true", "It is in use. Default: true."),
    key("license.ports.*.card", Text { bytes_max: 64 }, Live, "\"0/1\"", "The line card that it is on. Default: none."),
    key("license.types.*.count", count("units"), Live, "10", "Units. Default: not limited."),
    key(
        "license.types.*.overage",
        Bool,
        Live,
        "false",
        "As license.overage, for this type alone. Default: as license.overage.",
    ),
    key(
        "license.types.*.tier.family",
        Text { bytes_max: 128 },
        Live,
        "\"agents\"",
        "An ordered family of types: one of a higher rank can serve a call of a lower one.",
    ),
    key(
        "license.types.*.tier.rank",
        Integer { min: 0, max: 255, of: "the rank" },
        Live,
        "2",
        "The place in the family; higher serves lower.",
    ),
    key(
        "admission.mode",
        Choice(&["enforce", "shadow"]),
        Live,
        "",
        "enforce: refuse what the limits refuse. shadow: admit everything, and count what would have been refused.",
    ),
    key(
        "admission.rate_policy",
        Choice(&["strict"]),
        Live,
        "",
        "\"strict\": in any window of one second at most the limit. { burst = 20 }: a token bucket, the limit as\na rate and up to 20 calls at once.",
    ),
    key("admission.rate_policy.burst", Integer { min: 1, max: CALL_RATE_MAX, of: "calls at once" }, Live, "20", ""),
    key(
        "admission.strict_trunks",
        Bool,
        Live,
        "",
        "Refuse trunks and tenants that are not listed below. Off, they get the defaults below.",
    ),
    key(
        "admission.suspect_grace",
        LEASE,
        Live,
        "",
        "After a proxy's restart, its calls are freed after this time unless RESYNC or REFRESH names them.",
    ),
    key(
        "admission.headroom_percent",
        Integer { min: 0, max: 100, of: "percent" },
        Live,
        "",
        "The share of each node limit, in percent, that only PRIORITY calls may use.",
    ),
    key(
        "admission.calls_max",
        Integer { min: 64, max: 16_777_216, of: "calls" },
        ALLOCATED,
        "",
        "Live calls and registrations that the table holds, about 100 bytes each. Full, it refuses: capacity.",
    ),
    key(
        "admission.memories_max",
        Integer { min: 64, max: 16_777_216, of: "memories" },
        ALLOCATED,
        "",
        "Refusals, released calls and early releases that are remembered together.",
    ),
    key(
        "admission.id_texts_max",
        count("ids"),
        ALLOCATED,
        "",
        "Calls whose id is kept as text, for `callgate calls list`; further calls show the hash of their id.",
    ),
    key("admission.trunk_default.cps", CPS, Live, "50", "Calls per second. Default: not limited."),
    key(
        "admission.trunk_default.sessions",
        count("sessions"),
        Live,
        "100",
        "Concurrent sessions. Default: not limited.",
    ),
    key("admission.tenant_default.cps", CPS, Live, "50", "Calls per second. Default: not limited."),
    key(
        "admission.tenant_default.sessions",
        count("sessions"),
        Live,
        "100",
        "Concurrent sessions. Default: not limited.",
    ),
    key("admission.leases.setup", LEASE, Live, "", "From ADMIT until CONFIRM. A REFRESH starts it again."),
    key("admission.leases.talk", LEASE, Live, "", "From CONFIRM, or the last REFRESH, on."),
    key("admission.leases.registration_grace", MEMORY, Live, "", "Added to a registration's Expires."),
    key(
        "admission.leases.resync",
        Span { min_s: 1, max_s: 3_600 },
        Live,
        "",
        "How long an open RESYNC may take before it is aborted (which frees nothing).",
    ),
    key(
        "admission.leases.retransmission",
        MEMORY,
        Live,
        "",
        "How long after its admission a live id without SEQ counts as a retransmission.",
    ),
    key(
        "admission.leases.retransmissions_max",
        Integer { min: 0, max: 255, of: "requests" },
        Live,
        "",
        "How often it may be asked again for free.",
    ),
    key("admission.leases.refusal", MEMORY, Live, "", "How long a refusal is repeated without being counted again."),
    key("admission.leases.released", MEMORY, Live, "", "How long a released call is remembered."),
    key("admission.leases.tombstone", MEMORY, Live, "", "How long a RELEASE that came before its ADMIT is remembered."),
    key("admission.export_control.enabled", Bool, Live, "true", "The cap is on. Default: as the profile says."),
    key("admission.export_control.webrtc", Bool, Live, "", "Let WebRTC sessions in; off, refuse them."),
    key(
        "admission.export_control.limit",
        Integer { min: 1, max: 2500, of: "calls and registrations" },
        Live,
        "",
        "Calls and registrations together. Refused from here until use is 1 % lower. Can be lowered, not lifted.",
    ),
    key(
        "admission.export_control.limit_with_webrtc",
        Integer { min: 1, max: 2244, of: "calls and registrations" },
        Live,
        "",
        "The same, with webrtc = true.",
    ),
    key(
        "admission.export_control.webrtc_limit",
        Integer { min: 0, max: 256, of: "WebRTC sessions" },
        Live,
        "",
        "WebRTC sessions, counted apart.",
    ),
    key(
        "admission.export_control.counts",
        Choice(&["all", "encrypted"]),
        Live,
        "",
        "all: every call and registration counts. encrypted: only what says ENCRYPTED.",
    ),
    key(
        "admission.export_control.scope",
        Choice(&["node", "cluster"]),
        Restart("what members share is fixed while the process runs"),
        "",
        "node: this host counts for itself. cluster: all members of [cluster] together are held to the limits,\nwhich must be the same at each; each holds its share of them and borrows of the others.",
    ),
    key(
        "admission.export_control.share",
        Integer { min: 0, max: 2500, of: "calls and registrations" },
        Live,
        "250",
        "With scope = cluster: this member's part of limit (of the other two limits, the same fraction).\nTHE SHARES OF ALL MEMBERS TOGETHER MUST NOT EXCEED limit: lower one, and wait until it holds, before you\nraise another.",
    ),
    key("admission.status.*.sip_status", Integer { min: 400, max: 699, of: "a SIP status" }, Live, "", ""),
    key("admission.status.*.retry_after", RETRY, Live, "", ""),
    key("admission.status.*.spread", RETRY, Live, "", ""),
    key("trunk.#.name", Text { bytes_max: 128 }, Live, "\"carrier-a\"", "Its name, as the proxy says it."),
    key("trunk.#.cps", CPS, Live, "50", "Calls per second. Default: not limited."),
    key("trunk.#.sessions", count("sessions"), Live, "100", "Concurrent sessions. Default: not limited."),
    key("tenant.#.name", Text { bytes_max: 128 }, Live, "\"example.com\"", "Its name, as the proxy says it."),
    key("tenant.#.cps", CPS, Live, "20", "Calls per second. Default: not limited."),
    key("tenant.#.sessions", count("sessions"), Live, "40", "Concurrent sessions. Default: not limited."),
    key(
        "listen.resp",
        Addresses,
        LISTENS,
        "",
        "RESP, for any Redis client: addresses and Unix sockets. A relative socket path lies in data_dir. []: off.",
    ),
    key(
        "listen.datagram",
        Addresses,
        LISTENS,
        "",
        "Datagrams in a fixed layout (config/include/callgate.h), for native clients: UDP addresses and Unix datagram\nsockets (unix:PATH). Name each address of a host with several: an answer must leave by the one that was asked.\nWith password_file, each datagram must begin with AUTH. []: off.",
    ),
    key("listen.http", Switched, LISTENS, "", "HTTP: admission, metrics, health, status. \"off\": off."),
    key(
        "listen.reactors",
        Integer { min: 1, max: 64, of: "threads" },
        THREADS,
        "",
        "Admission threads. One serves more calls than a proxy on the same host can make.",
    ),
    key(
        "listen.connections_max",
        Integer { min: 1, max: 1_000_000, of: "connections" },
        BOUNDS,
        "",
        "Open connections of each front end; further ones are closed at once.",
    ),
    key(
        "listen.idle_timeout",
        Span { min_s: 0, max_s: 86_400 },
        BOUNDS,
        "",
        "Close a connection that says nothing for so long. 0: never. (Redis clients open a new one by themselves.)",
    ),
    key(
        "listen.drain_time",
        Span { min_s: 0, max_s: 60 },
        Live,
        "",
        "At a stop, refuse new calls for so long before closing, so that proxies see the drain and ask elsewhere.",
    ),
    key("listen.unix_mode", FileMode, LISTENS, "", "The mode of the Unix sockets of RESP and datagrams."),
    key(
        "listen.password_file",
        Path,
        Live,
        "\"/etc/callgate/resp.password\"",
        "A file with the RESP password in its first line. With it, clients must AUTH.",
    ),
    key(
        "listen.tokens_file",
        Path,
        Live,
        "\"/etc/callgate/http.tokens\"",
        "Bearer tokens, one a line: 16 characters or more; admin behind it for that role. HTTP asks for one.",
    ),
    key("journal.enabled", Bool, JOURNAL, "", "Keep a journal. Off, a restarted sidecar knows no calls."),
    key(
        "journal.segment_size",
        Size { min: 64 << 10, max: 1 << 30 },
        JOURNAL,
        "",
        "The size of one segment. Two are mapped ahead, and count as resident memory.",
    ),
    key(
        "journal.fsync_interval",
        Span { min_s: 1, max_s: 3_600 },
        JOURNAL,
        "",
        "How often it is forced to the disk. A crash of the sidecar loses nothing; one of the host, at most this.",
    ),
    key("alarms.log", Bool, Live, "", "Log alarms as they are raised and cleared: the predefined destination \"log\"."),
    key(
        "alarms.damping",
        Span { min_s: 0, max_s: 3_600 },
        Live,
        "",
        "An alarm that flaps is told to the destinations twice at once, then once in this time, with the number of\nchanges in between. 0: always.",
    ),
    key(
        "telemetry.log_level",
        Choice(&["error", "warn", "info", "debug", "trace"]),
        Live,
        "",
        "The least severe level to log: error, warn, info, debug or trace.",
    ),
    key(
        "telemetry.log_format",
        Choice(&["text", "json"]),
        Restart("the log's form is chosen at start"),
        "",
        "text for people, json for machines.",
    ),
    key(
        "telemetry.log_call_ids",
        Bool,
        Live,
        "",
        "Let call ids into logs above debug. They can name people: off by default.",
    ),
    key(
        "telemetry.group_metrics",
        Bool,
        Live,
        "",
        "Show each trunk and tenant in /metrics. With thousands of them that is a large page: false leaves them out.",
    ),
];
