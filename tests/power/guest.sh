# What the computer in QEMU is asked to do, as functions; the orders of a boot follow. Standard output is read by the
# test: lines `@ WORD ...`. What is printed is printed after it happened.

export PERIGEE_SOCKET=/run/perigee/control.sock
mkdir -p /disk /run/perigee /etc/perigee
# Without a quarantine: many cuts in a row are what is tried here.
cat >/etc/perigee/perigee.yaml <<'CONFIG'
limits: {resets: 0}
state_dir: /disk/state
retention: {segment_bytes: 16384}
CONFIG

# on_disk DEVICE OPTIONS: the file system, after its own journal was replayed. Nothing else mends it: e2fsck only looks.
on_disk() {
    mount -t ext4 "$1" /disk && umount /disk
    e2fsck -fn "$1" >/tmp/said 2>&1
    echo "@ fsck $?"
    mount -t ext4 -o "$2" "$1" /disk || echo "@ unmountable"
}

# checked: what `perigee ledger check` says, on one line.
checked() {
    perigee ledger check /disk/state >/tmp/said 2>&1
    echo "@ check $? $(tr -s '\n' ';' </tmp/said)"
}

# start: the daemon, without any Podman. Its sockets are there when it has opened the ledger; 3000 looks, for a
# processor that is emulated and shared.
start() {
    rm -f /run/perigee/*.sock
    echo "@ starting"
    perigeed 2>/tmp/log &
    daemon=$!
    looks=0
    until [ -S /run/perigee/control.sock ] || [ $looks = 3000 ]; do
        looks=$((looks + 1))
        usleep 50000
    done
    document status perigee -o json status
    echo "@ open $(grep -o 'ledger open.*' /tmp/log)"
}

# document WORD COMMAND...: what a command prints as JSON, on one line.
document() {
    word=$1
    shift
    "$@" >/tmp/said 2>/tmp/error || echo "@ failed $word $(cat /tmp/error)"
    echo "@ $word $(tr -d '\n' </tmp/said)"
}

# again ID BUNDLE: brings a bundle once more that was purged.
again() {
    perigee submit "$2" >/tmp/said 2>/tmp/error
    echo "@ again $1 $? $(cat /tmp/said /tmp/error | tr '\n' ' ')"
}

# told: everything that the ledger and the daemon tell.
told() {
    document list perigee -o json list --limit 10000
    for report in /disk/state/downlink/*/report.json; do
        [ ! -e "$report" ] || document report cat "$report"
    done
    perigee -o json ledger show /disk/state >/tmp/said 2>/tmp/error || echo "@ failed show $(cat /tmp/error)"
    sed 's/^/@ record /' /tmp/said
    echo "@ judged"
}

# leave: without a farewell.
leave() {
    kill -9 $daemon
    wait $daemon
    umount /disk
}

# logged DEVICE LOG: /dev/mapper/logged, a disk each write of which is logged. A flush takes longer than it takes to
# mark an acknowledgement, so that one that does not wait for the flush is marked before it.
logged() {
    export DM_DISABLE_UDEV=1
    sectors=$(blockdev --getsz "$1")
    dmsetup create slow --table "0 $sectors delay $1 0 0 $1 0 0 $1 0 400"
    dmsetup create logged --table "0 $sectors log-writes /dev/mapper/slow $2"
    marks=1
}

# try N COMMAND...: the N-th order; that it was acknowledged is marked in the log before it is told.
try() {
    number=$1
    shift
    if "$@" >/tmp/said 2>/tmp/error; then
        [ -z "$marks" ] || dmsetup message logged 0 mark "ack-$number"
        echo "@ ack $number"
    else
        echo "@ no $number $? $(tr '\n' ' ' </tmp/error)"
    fi
}
