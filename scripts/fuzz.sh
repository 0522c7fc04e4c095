#!/bin/sh
# Runs every fuzz target of tests/fuzz for a while: scripts/fuzz.sh [SECONDS, default 60].
#
# What libFuzzer finds worth keeping goes to tests/fuzz/corpus (not checked in); it starts from there and from
# tests/fuzz/seeds (checked in). RUSTC_BOOTSTRAP=1 gives stable the coverage switches cargo-fuzz needs; no sanitizer,
# because the fuzzed crates forbid unsafe and it would need a nightly compiler.
set -eu

cd "$(dirname "$0")/.."
export RUSTC_BOOTSTRAP=1
seconds=${1:-60}

[ -f tests/fuzz/Cargo.toml ] || {
    echo 'tests/fuzz: no targets yet'
    exit 0
}

targets=$(cargo fuzz list --fuzz-dir tests/fuzz)
[ -n "$targets" ] || {
    echo 'tests/fuzz has no targets' >&2
    exit 1
}

failed=
for target in $targets; do
    corpus=tests/fuzz/corpus/$target
    seeds=tests/fuzz/seeds/$target
    mkdir -p "$corpus"
    # libFuzzer writes to the first folder only.
    set -- "$corpus"
    if [ -d "$seeds" ]; then set -- "$@" "$seeds"; fi
    echo "fuzz: $target for $seconds s"
    cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none "$target" "$@" -- -max_total_time="$seconds" ||
        failed="$failed $target"
done

[ -z "$failed" ] || {
    echo "fuzz: failed:$failed; the inputs are in tests/fuzz/artifacts" >&2
    exit 1
}
