#!/usr/bin/env bash
# Shows a real operation end to end: the documented TCP server and client, packed on the ground, uplinked to a running
# perigeed, run as one merged group on real Podman, reported back. Everything it starts, it ends.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/testbed/env.sh

board=$(mktemp -d /tmp/perigee-demo.XXXXXX)
podman_pid=
daemon_pid=
finish() {
    [ -z "$daemon_pid" ] || kill "$daemon_pid" 2>/dev/null || true
    [ -z "$daemon_pid" ] || wait "$daemon_pid" 2>/dev/null || true
    podman ps --all --quiet --filter network=perigee-demo | xargs --no-run-if-empty podman rm --force --time 0 >/dev/null
    podman network rm --force perigee-demo >/dev/null 2>&1 || true
    podman volume rm client1.payload >/dev/null 2>&1 || true
    [ -z "$podman_pid" ] || kill "$podman_pid" 2>/dev/null || true
    rm -rf "$board"
}
trap finish EXIT

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
run() { say "$@"; "$@"; }
until_socket() {
    for _ in $(seq 200); do
        [ -S "$1" ] && return
        sleep 0.05
    done
    echo "demo: $1 did not appear; $board/perigeed.log says:" >&2
    cat "$board/perigeed.log" >&2 || true
    exit 1
}

cat >"$board/perigee.yaml" <<YAML
state_dir: $board/state
runtime_dir: $board/run
nodes: { mpu: { podman: "unix://$board/podman.sock" } }
network: { name: perigee-demo }
YAML
podman system service --time=0 "unix://$board/podman.sock" >"$board/podman.log" 2>&1 &
podman_pid=$!
until_socket "$board/podman.sock"
target/debug/perigeed --config "$board/perigee.yaml" 2>"$board/perigeed.log" &
daemon_pid=$!
until_socket "$board/run/control.sock"

export PERIGEE_SOCKET=$board/run/control.sock
PATH=$PWD/target/debug:$PATH
operation=docs/examples/tcp/tcp-demo.yaml

run perigee check "$operation" --tenant client1
say perigee pack "$operation" --tenant client1 -o demo.bundle
id=$(perigee pack "$operation" --tenant client1 -o "$board/demo.bundle")
echo "$id"
# A transfer agent writes *.part and renames: the daemon takes the bundle at the rename.
say mv demo.bundle.part uplink/demo.bundle
cp "$board/demo.bundle" "$board/state/uplink/demo.bundle.part"
mv "$board/state/uplink/demo.bundle.part" "$board/state/uplink/demo.bundle"
for _ in $(seq 200); do
    perigee status "$id" >/dev/null 2>&1 && break
    sleep 0.05
done
run perigee wait "$id" --for succeeded --timeout 120s
run perigee status "$id"
run perigee logs "$id"
run perigee history "$id"
run perigee downlink list
say tar -tvf "downlink/$id/DOWNLINK.tar"
tar -tvf "$board/state/downlink/$id/DOWNLINK.tar"
grep -q 'server received: hello from tcp client' <<<"$(perigee logs "$id")"
printf '\ndemo: both pods succeeded, the client has the answer of the server, the results wait in the outbox\n'
