#!/usr/bin/env bash
# redis-benchmark against callgate and against redis-server, in turns, in one run: prints thousands of requests a second and their ratio.
#
#   benches/redis.sh                   three rounds of 300,000 requests
#   ROUNDS=5 REQUESTS=1000000 benches/redis.sh
#   SERVER_CPU=0 CLIENT_CPU=1 benches/redis.sh      pins both servers to one core and the driver to another
#
# Needs redis-server and redis-benchmark (Debian: redis-server, redis-tools). All on loopback, on ports that nobody uses; everything that it
# starts, it stops. redis-benchmark is the limit itself at deep pipelines: read the ratios, not the figures.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ROUNDS="${ROUNDS:-3}" REQUESTS="${REQUESTS:-300000}" CONNECTIONS="${CONNECTIONS:-50}"
TARGET="${CARGO_TARGET_DIR:-target}"
for program in redis-server redis-benchmark redis-cli python3; do
    command -v "$program" >/dev/null || { echo "$program is missing: apt-get install redis-server redis-tools python3" >&2; exit 1; }
done
[ -n "${CALLGATE:-}" ] || { cargo build --release --locked; CALLGATE="$TARGET/release/callgate"; }

work="$(mktemp -d)"
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT

# Called in the background: exec, so that the id that is noted is the server's own.
on_server() { if [ -n "${SERVER_CPU:-}" ]; then exec taskset -c "$SERVER_CPU" "$@"; else exec "$@"; fi; }
on_client() { if [ -n "${CLIENT_CPU:-}" ]; then taskset -c "$CLIENT_CPU" "$@"; else "$@"; fi; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

redis_port="$(free_port)" gate_port="$(free_port)"
cat >"$work/callgate.toml" <<TOML
[node]
data_dir = "$work/data"
max_call_rate = 1000000
[license]
count = 1000000
[listen]
resp = ["127.0.0.1:$gate_port"]
datagram = []
http = "127.0.0.1:0"
TOML
on_server redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no --dir "$work" >"$work/redis.log" 2>&1 &
pids+=($!)
on_server "$CALLGATE" serve --config "$work/callgate.toml" >"$work/callgate.log" 2>&1 &
pids+=($!)
for port in "$redis_port" "$gate_port"; do
    for _ in $(seq 100); do redis-cli -p "$port" ping >/dev/null 2>&1 && break; sleep 0.1; done
    redis-cli -p "$port" ping >/dev/null || { echo "nothing answers on port $port" >&2; cat "$work"/*.log >&2; exit 1; }
done

# Requests a second of one run.
rate() { # port pipeline command...
    local port="$1" pipeline="$2"
    shift 2
    on_client redis-benchmark -h 127.0.0.1 -p "$port" -c "$CONNECTIONS" -n "$REQUESTS" -P "$pipeline" -r 100000000 --csv "$@" 2>/dev/null |
        awk -F'","' 'NR > 1 { gsub(/"/, "", $2); print $2 }' | tail -1
}

echo "redis-benchmark, $CONNECTIONS connections, $REQUESTS requests a run, $ROUNDS paired rounds; median of each, and of the ratios"
printf '%-9s %16s %16s %16s %9s\n' pipeline 'redis INCR' 'callgate ADMIT' 'ADMIT.BOOL' 'ratio'
for pipeline in 1 16 64; do
    for round in $(seq "$ROUNDS"); do
        redis="$(rate "$redis_port" "$pipeline" INCR key:__rand_int__)"
        # Random ids; the lease of a second lets the table stay small, as calls that end would.
        admit="$(rate "$gate_port" "$pipeline" ADMIT call-__rand_int__ TTL 1)"
        bool="$(rate "$gate_port" "$pipeline" ADMIT.BOOL call-__rand_int__ TTL 1)"
        echo "$redis $admit $bool"
    done | python3 -c '
import statistics, sys
rows = [list(map(float, line.split())) for line in sys.stdin]
redis, admit, boolean = (statistics.median(column) for column in zip(*rows))
ratios = sorted(row[1] / row[0] for row in rows)
print("%-9s %14.0f k %14.0f k %14.0f k %9.2f  (%.2f to %.2f)" % (
    "P'"$pipeline"'", redis / 1e3, admit / 1e3, boolean / 1e3, statistics.median(ratios), ratios[0], ratios[-1]))'
done
