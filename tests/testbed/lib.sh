# Shared by the scripts in this folder; sourced, never run.
# Where everything lives. The bed is private: nothing under /etc, and nothing of
# the system's own Podman store, is read or written.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
BED=$(realpath -m -- "${PERIGEE_TESTBED:-$here/../../target/testbed}")
BED_ID=$(printf '%s' "$BED" | sha256sum)
BED_ID=${BED_ID:0:8}

# Sockets live below these, so the path must be short; derived from the bed's
# own path, so two beds never share one.
RUN=/run/perigee-testbed-$BED_ID

# A range of container addresses of the bed's own (one of a hundred). It keeps
# two beds off each other's subnets, and lets down.sh tell the bed's bridges,
# network namespaces and firewall rules from anyone else's.
POOL=10.$((100 + 16#${BED_ID:0:4} % 100))

export PERIGEE_TESTBED=$BED
export CONTAINERS_CONF=$BED/containers.conf
export CONTAINERS_STORAGE_CONF=$BED/storage.conf

say() { printf 'testbed: %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "must run as root ($1)"; }

# have PROGRAM: on the PATH, or where distributions hide Podman's helpers.
have() {
    command -v "$1" >/dev/null 2>&1 && return
    local d
    for d in /usr/lib/podman /usr/libexec/podman /usr/local/libexec/podman /usr/sbin /sbin; do
        [ -x "$d/$1" ] && return
    done
    return 1
}

# apt_install PACKAGE...: one clear line when it cannot be done.
apt_install() {
    [ "$(id -u)" = 0 ] || die "must run as root to install Debian packages: $*"
    command -v apt-get >/dev/null || die "apt-get not found; install these packages by hand: $*"
    say "installing $*"
    local log=$BED/apt.log
    mkdir -p "$BED"
    {
        apt-get -q -o DPkg::Lock::Timeout=300 update &&
        DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
            install --no-install-recommends "$@"
    } >"$log" 2>&1 || die "apt-get could not install: $* (see $log)"
}

# umount_under DIR: lazily unmount whatever is mounted in or below DIR.
umount_under() {
    local m
    while read -r m; do
        m=$(printf '%b' "$m")
        case $m in "$1" | "$1"/*) umount -l -- "$m" 2>/dev/null || true ;; esac
    done < <(awk '{ print $5 }' /proc/self/mountinfo | tac)
}

# lock_bed: one script at a time; parallel test binaries may all call up.sh.
lock_bed() {
    mkdir -p "$BED"
    exec 9>"$BED/.lock"
    flock 9
}
