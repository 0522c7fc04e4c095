#!/bin/sh
# Runs the load tester beside a server that `make run` started on this machine: docs/load.md.
#
#   scripts/load.sh BINARIES DATA [ARGUMENT...]
#
# BINARIES is the folder of vestibule-load and vestibule, DATA that of the server; the arguments go to vestibule-load.
# The key is of a clinic "Load test", made here; it is good for a day, and kept in DATA until it is half that old. One that
# the server does not know any more, as after its database was made anew, gives way to another.
set -eu

KEY_MINUTES=720
SCOPES=sessions:read,sessions:write,consents:write,config:read,config:write

main() {
    binaries=$1 data=$2
    shift 2
    [ -f "$data/origin" ] || fail "no server has run in $data: 'make run' in another terminal first"
    key=$data/keys/load-test.key
    [ -n "$(find "$key" -mmin "-$KEY_MINUTES" 2>/dev/null)" ] && is_good || make_key
    [ "$#" -gt 0 ] || set -- visits 20
    # The certificate the server made for itself, unless another is named.
    case " $* " in
    *" --ca"[\ =]*) ;;
    *) [ ! -f "$data/tls/cert.pem" ] || set -- --ca "$data/tls/cert.pem" "$@" ;;
    esac
    VESTIBULE_LOAD_KEY=$(cat "$key") exec "$binaries/vestibule-load" --server "$(cat "$data/origin")" "$@"
}

is_good() {
    ! printf 'header = "Authorization: Bearer %s"\n' "$(cat "$key")" |
        curl --silent --insecure --output /dev/null --write-out '%{http_code}' --config - "$(cat "$data/origin")/v1/auth/me" |
        grep -q 401
}

make_key() {
    made=$("$binaries/vestibule" --data "$data" key create --clinic 'Load test' --name load --scopes "$SCOPES" \
        --expires-at "$(date -u -d '+1 day' +%Y-%m-%dT%H:%M:%SZ)")
    (umask 077 && printf '%s\n' "$made" >"$key")
}

fail() {
    echo "load: $1" >&2
    exit 1
}

[ "$#" -ge 2 ] || fail "usage: scripts/load.sh BINARIES DATA [ARGUMENT...]"
main "$@"
