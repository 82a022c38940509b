#!/bin/sh
# Tells the sidecar which calls this Kamailio really has: it keeps those, adopts what it did not know, and frees the rest.
#
# Run it after a start of Kamailio (its new epoch has put the old calls in doubt) or of the sidecar, and now and then
# by a timer. A run that fails frees nothing: it aborts its resync, and the sidecar aborts one that is not ended within a
# minute.
#
#   callgate-resync.sh [--empty]
#
# Without --empty a list without any call is refused, because it would free everything: it is what a Kamailio tells whose
# dialogs are not loaded yet.
#
# Environment: CALLGATE_PROXY the proxy's name (sip-a), CALLGATE_SOCKET the sidecar's Unix socket
# (/run/callgate/callgate.sock), KAMCMD_SOCKET Kamailio's control socket. Needs kamcmd (kamailio) and redis-cli (redis-tools).
set -eu
proxy="${CALLGATE_PROXY:-sip-a}"
socket="${CALLGATE_SOCKET:-/run/callgate/callgate.sock}"
empty=no
case "${1:-}" in
    '') ;;
    --empty) empty=yes ;;
    *) echo "found '$1'; accepted is --empty" >&2; exit 2 ;;
esac
ask() { redis-cli -s "$socket" "$@"; }
kam() { kamcmd ${KAMCMD_SOCKET:+-s "$KAMCMD_SOCKET"} "$@"; }
fail() { echo "no resync, nothing was freed: $*" >&2; exit 1; }
is_count() { case "$1" in ''|*[!0-9]*) return 1 ;; esac; }
# How many dialogs Kamailio counts; nothing if it has no such command.
active() { kam dlg.stats_active 2>/dev/null | sed -n 's/^[[:space:]]*all:[[:space:]]*\([0-9][0-9]*\).*/\1/p'; }

token=''
work="$(mktemp -d)"
leave() {
    rm -rf "$work"
    [ -z "$token" ] || ask RESYNC ABORT "$token" >/dev/null
}
trap leave EXIT
trap 'exit 1' HUP INT TERM

# BEGIN first, then the list: only calls admitted before BEGIN can be freed, so none that starts meanwhile is lost.
begun="$(ask RESYNC BEGIN "$proxy")"
is_count "$begun" || fail "the sidecar answers '$begun'"
token="$begun"

# One line of the briefing per dialog; the Call-ID is what was given as the id.
before="$(active)"
kam dlg.briefing cs >"$work/briefing"
after="$(active)"
sed -n 's/^[[:space:]]*call-id: //p' "$work/briefing" >"$work/ids"
listed="$(wc -l <"$work/ids" | tr -d '[:space:]')"
if [ "$listed" -eq 0 ] && [ -s "$work/briefing" ]; then
    fail "the briefing of Kamailio's dialogs names no call-id"
fi
if [ "$listed" -eq 0 ] && [ "$empty" = no ]; then
    fail "Kamailio lists no call; if that is so, say --empty"
fi
# Calls start and end meanwhile; a list that lacks more than a tenth, and ten, is broken off.
if is_count "$before" && is_count "$after"; then
    fewest="$before"
    [ "$after" -ge "$fewest" ] || fewest="$after"
    if [ "$fewest" -gt $((listed + fewest / 10 + 10)) ]; then
        fail "Kamailio lists $listed calls, and counts $fewest"
    fi
fi

# A hundred ids per command; as arguments of their own, whatever characters they have. Each answer is how many were
# taken: an error is no number, and ends this.
tr '\n' '\0' <"$work/ids" | xargs -0 -r -n 100 redis-cli -s "$socket" RESYNC ADD "$token" >"$work/answers"
added=0
while read -r answer; do
    [ -n "$answer" ] || continue
    is_count "$answer" || fail "the sidecar answers '$answer'"
    added=$((added + answer))
done <"$work/answers"
[ "$added" -eq "$listed" ] || fail "the sidecar took $added of $listed calls"

ended="$(ask RESYNC END "$token")"
token=''
case "$ended" in
    *[!0-9[:space:]]*|'') fail "the sidecar answers '$ended'" ;;
esac
echo "$ended" | xargs printf 'kept %s, adopted %s, released %s\n'
