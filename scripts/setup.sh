#!/bin/sh
# Sees to it that this machine has what a make target needs, or says what is missing and stops.
#
#   scripts/setup.sh rust|run|test|test-api|interop|check|fuzz|load-compare|janus
#
# Rust and Node.js are expected to be there (how to get them is the owner's choice) and only checked for their version.
# As root on Debian or Ubuntu it installs missing packages with apt-get; else it prints the command and fails.
# It is called before every target: when all is there it does nothing and is quick.
set -eu

cd "$(dirname "$0")/.."

RUST_MIN=1.95
NODE_MIN=20.19
# Fixed, so that a check means the same everywhere; these build with RUST_MIN.
CARGO_DENY_VERSION=0.20.2
CARGO_FUZZ_VERSION=0.13.2
# Fails unless GStreamer has all that a peer of the interoperability matrix is made of.
GSTREAMER='
import gi
gi.require_version("GstWebRTC", "1.0")
from gi.repository import Gst, GstWebRTC
Gst.init(None)
assert all(map(Gst.ElementFactory.find, ["webrtcbin", "nicesrc", "vp8enc", "vp9enc", "openh264enc", "opusenc", "level"]))
'

main() {
    case "${1:-}" in
    rust)
        need_packages compiler
        need_rust
        ;;
    run)
        need_packages compiler
        need_rust
        need_node
        need_node_modules web-client/package-lock.json
        ;;
    test)
        need_packages compiler chromium coturn firefox ip nft postgres setpriv
        need_rust
        need_node
        need_node_modules tests/browser/package-lock.json web-client/package-lock.json
        ;;
    test-api)
        need_packages compiler curl postgres setpriv venv
        need_rust
        need_node
        need_venv "${CARGO_TARGET_DIR:-target}/test-api-venv" tests/api/requirements.txt
        ;;
    interop)
        need_packages compiler chromium coturn firefox gstreamer ip nft venv
        need_rust
        need_node
        need_node_modules tests/browser/package-lock.json tests/interop/package-lock.json web-client/package-lock.json
        need_venv "${CARGO_TARGET_DIR:-target}/interop-venv" tests/interop/requirements.txt
        ;;
    check)
        need_packages compiler
        need_rust
        need_rust_component rustfmt fmt
        need_rust_component clippy clippy
        need_cargo_tool cargo-deny deny "$CARGO_DENY_VERSION"
        need_node
        need_node_modules tests/browser/package-lock.json tests/interop/package-lock.json web-client/package-lock.json
        ;;
    fuzz)
        need_packages compiler
        need_rust
        need_cargo_tool cargo-fuzz fuzz "$CARGO_FUZZ_VERSION"
        ;;
    load-compare)
        need_packages compiler ip setpriv
        need_rust
        need_node
        need_node_modules web-client/package-lock.json
        ;;
    janus)
        need_packages janus
        ;;
    *)
        fail "usage: scripts/setup.sh rust|run|test|test-api|interop|check|fuzz|load-compare|janus"
        ;;
    esac
}

# --- system packages ---------------------------------------------------------------------------------------------

# need_packages THING...: installs the packages of the things this machine does not have.
need_packages() {
    missing=
    for thing in "$@"; do
        has "$thing" || missing="$missing $thing"
    done
    [ -n "$missing" ] || return 0

    command -v apt-get >/dev/null || fail "missing:$missing; install them (no apt-get on this machine to do it with)"
    if [ "$(id -u)" -ne 0 ]; then
        fail "missing:$missing; as root run:" \
            "  apt-get update && apt-get install -y --no-install-recommends$(packages_of $missing)"
    fi
    say "missing:$missing; installing"
    apt-get update
    packages=$(packages_of $missing)
    # Word splitting is meant: one word per package.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages ||
        fail "apt-get could not install:$packages"
    for thing in $missing; do
        has "$thing" || fail "$thing is still missing after apt-get install$packages"
    done
}

# has THING: whether this machine has it. aws-lc-sys builds with a C compiler alone on x86_64 and aarch64 Linux; the
# C++ compiler is for libFuzzer, and comes in the same package.
has() {
    case "$1" in
    compiler) has_command cc && has_command c++ ;;
    chromium) has_command chromium || has_command chromium-browser || has_command google-chrome ;;
    firefox) has_command firefox-esr || has_command firefox ;;
    postgres) ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 ;;
    setpriv) has_command setpriv ;;
    curl) has_command curl ;;
    janus) has_command janus ;;
    coturn) has_command turnserver ;;
    nft) has_command nft || [ -x /usr/sbin/nft ] ;;
    # With the bindings of Debian's own Python, whichever other there is.
    gstreamer) /usr/bin/python3 -c "$GSTREAMER" 2>/dev/null ;;
    # Debian's Python comes without the part that makes a venv with pip in it.
    venv) has_command python3 && python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    ip) has_command ip || [ -x /usr/sbin/ip ] || [ -x /sbin/ip ] ;;
    *) fail "setup.sh does not know $1" ;;
    esac
}

has_command() {
    command -v "$1" >/dev/null
}

# packages_of THING...: what apt calls them, each with a blank before it.
packages_of() {
    for thing in "$@"; do
        case "$thing" in
        compiler) printf ' build-essential' ;;
        chromium) if on_ubuntu; then printf ' chromium-browser'; else printf ' chromium'; fi ;;
        firefox) if on_ubuntu; then printf ' firefox'; else printf ' firefox-esr'; fi ;;
        ip) printf ' iproute2' ;;
        postgres) printf ' postgresql' ;;
        setpriv) printf ' util-linux' ;;
        curl) printf ' curl' ;;
        janus) printf ' janus' ;;
        coturn) printf ' coturn' ;;
        nft) printf ' nftables' ;;
        gstreamer)
            printf ' gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-nice'
            printf ' python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 gir1.2-gst-plugins-bad-1.0'
            ;;
        venv) printf ' python3-venv' ;;
        esac
    done
}

on_ubuntu() {
    grep -qx 'ID=ubuntu' /etc/os-release 2>/dev/null
}

# --- Rust --------------------------------------------------------------------------------------------------------

need_rust() {
    for tool in rustc cargo; do
        has_command "$tool" || fail "no $tool: install Rust $RUST_MIN or newer (https://rustup.rs)"
        version=$("$tool" --version | cut -d ' ' -f 2)
        version_at_least "$version" "$RUST_MIN" ||
            fail "$tool is $version, Rust $RUST_MIN or newer is needed: rustup update stable"
    done
}

# need_rust_component COMPONENT SUBCOMMAND
need_rust_component() {
    if cargo "$2" --version >/dev/null 2>&1; then return 0; fi
    has_command rustup || fail "no cargo $2: install the $1 that belongs to your Rust"
    say "installing $1"
    rustup component add "$1"
}

# need_cargo_tool CRATE SUBCOMMAND VERSION: any version that is there will do, a missing one is built (minutes), and not
# optimised: that takes longer than they ever run.
need_cargo_tool() {
    if cargo "$2" --version >/dev/null 2>&1; then return 0; fi
    say "building $1 $3, once"
    cargo install --debug --locked "$1@$3"
}

# --- Node.js -----------------------------------------------------------------------------------------------------

need_node() {
    for tool in node npm; do
        has_command "$tool" || fail "no $tool: install Node.js $NODE_MIN or newer (https://nodejs.org)"
    done
    version=$(node --version | tr -d v)
    version_at_least "$version" "$NODE_MIN" || fail "Node.js is $version, $NODE_MIN or newer is needed"
}

# need_node_modules LOCK...: the packages of folders with JavaScript, as their lock files say; skipped where they are
# newer than that file.
need_node_modules() {
    for lock in "$@"; do
        [ -f "$lock" ] || continue
        dir=$(dirname "$lock")
        installed=$dir/node_modules/.package-lock.json
        if [ -f "$installed" ] && [ -z "$(find "$lock" -newer "$installed")" ]; then continue; fi
        say "npm ci in $dir"
        (cd "$dir" && npm ci --no-audit --no-fund)
    done
}

# --- Python ------------------------------------------------------------------------------------------------------

# need_venv DIR REQUIREMENTS: an environment of its own with the packages of that file; made anew when the file changes.
need_venv() {
    if [ -f "$1/requirements.txt" ] && cmp -s "$2" "$1/requirements.txt"; then return 0; fi
    say "Python packages of $2, in $1"
    rm -rf "$1"
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check --requirement "$2"
    # Last: what is half made is made again.
    cp "$2" "$1/requirements.txt"
}

# --- words -------------------------------------------------------------------------------------------------------

# version_at_least HAVE WANT: by major and minor number.
version_at_least() {
    have_major=${1%%.*}
    have_minor=${1#*.}
    have_minor=${have_minor%%[!0-9]*}
    want_major=${2%%.*}
    want_minor=${2#*.}
    want_minor=${want_minor%%[!0-9]*}
    [ "$have_major" -gt "$want_major" ] ||
        { [ "$have_major" -eq "$want_major" ] && [ "$have_minor" -ge "$want_minor" ]; }
}

say() {
    printf 'setup: %s\n' "$*"
}

# fail LINE...
fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

main "$@"
