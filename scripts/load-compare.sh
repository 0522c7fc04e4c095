#!/bin/sh
# Compares Vestibule with Janus and with the floor on this machine: docs/load.md.
#
#   scripts/load-compare.sh BINARIES [ARGUMENT...]
#
# BINARIES is the folder of vestibule-load and vestibule; the arguments go to `vestibule-load compare`. As root it runs
# in a network namespace of its own, which is gone with it: Janus offers no loopback candidates, and nobody else's
# traffic is measured. Else media use the machine's first address.
set -eu

# An address that is for documentation (RFC 5737): nobody's, and here only inside the namespace.
ADDRESS=192.0.2.1

main() {
    tester=$1/vestibule-load
    shift
    [ "$(nproc)" -ge 2 ] || fail "two processors are needed: one for the server, one for the tester"
    ! wants_janus "$@" || "$(dirname "$0")/setup.sh" janus
    if [ "$(id -u)" -eq 0 ] && command -v unshare >/dev/null && ip_command >/dev/null; then
        exec unshare --net "$0" --inside "$(ip_command)" "$tester" compare --ip "$ADDRESS" "$@"
    fi
    echo "load-compare: not root, or no 'unshare' (util-linux) or 'ip' (iproute2): no network namespace of its own" >&2
    exec "$tester" compare "$@"
}

# Unless other servers are named.
wants_janus() {
    named=$(printf ' %s' "$@" | sed -n 's/.* --against[ =]\([^ ]*\).*/\1/p')
    case "${named:-janus}" in
    *janus*) ;;
    *) return 1 ;;
    esac
}

# inside IP_COMMAND PROGRAM ARGUMENT...: in the fresh namespace, where not even loopback is up.
inside() {
    ip=$1
    shift
    "$ip" link set lo up
    # A pair, where a dummy would do: not every kernel has one.
    "$ip" link add load0 type veth peer name load1
    "$ip" address add "$ADDRESS/24" dev load0
    "$ip" link set load0 up
    "$ip" link set load1 up
    exec "$@"
}

# Debian keeps it where only root's PATH leads.
ip_command() {
    command -v ip || { [ -x /usr/sbin/ip ] && echo /usr/sbin/ip; } || { [ -x /sbin/ip ] && echo /sbin/ip; }
}

fail() {
    echo "load-compare: $1" >&2
    exit 1
}

case "${1:-}" in
'') fail "usage: scripts/load-compare.sh BINARIES [ARGUMENT...]" ;;
--inside)
    shift
    inside "$@"
    ;;
*) main "$@" ;;
esac
