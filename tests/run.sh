#!/usr/bin/env bash
# Runs every test. Two cores under real Podman make a test late now and then: up to three tests that failed among the
# others are run once more, alone, and named as UNSTABLE. One that fails alone, too, or a fourth one, fails the suite.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Runs the test programs that its arguments choose: all of them without any.
phase() {
    if "$cargo" test --locked --no-fail-fast "$@" -- --test-threads=6 2>&1 | tee "$log"; then
        return 0
    fi
    # PROGRAM NAME of each test that failed; a program that did not even compile, or died, names none.
    failed=$(awk '
        / Running /   { program = $NF; gsub(/.*deps\/|-[0-9a-f]+\)$/, "", program); if (/unittests/) program = "--lib" }
        /^test .* \.\.\. FAILED$/ { print program, $2 }
    ' "$log")
    broken=$(grep -c '^error: could not compile\|(signal: ' "$log" || true)
    count=$(grep -c . <<<"$failed" || true)
    if [ "$broken" != 0 ] || [ "$count" = 0 ] || [ "$count" -gt 3 ]; then
        echo "tests: $count failed" >&2
        return 1
    fi
    while read -r program name; do
        echo "tests: $name failed among the others, once more alone"
        which=(--test "$program")
        [ "$program" != --lib ] || which=(--lib)
        "$cargo" test --locked "${which[@]}" -- --exact "$name" </dev/null || return 1
        echo "tests: UNSTABLE: $name"
    done <<<"$failed"
}

phase
# The same requirements where no process can be held by a descriptor: ends are asked of Podman.
echo "tests: flight once more, with exit_path: api"
export PERIGEE_EXIT_PATH=api
phase --test flight
