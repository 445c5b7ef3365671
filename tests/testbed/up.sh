#!/usr/bin/env bash
# Brings up a private Podman test bed: packages, configuration, images. Safe to
# run again at any time; does nothing when all is there already.
#
# Kept private: image store, volumes, networks' definitions, locks, events, run
# directories. Shared by all stores of a host, because there is no setting for
# it: /run/containers/networks (addresses in use, aardvark-dns), the iptables
# chains, bridge names, runc's /run/runc, a cache of layer names in
# /var/lib/containers/cache. Suites that run at the same time in *different*
# beds should each have a network namespace of their own.
#
# Run down.sh before `cargo clean` when containers may still be running.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_root "the bed drives a rootful Podman; its Debian packages are: podman runc conmon netavark aardvark-dns iptables catatonit busybox-static ca-certificates"

# --- packages ---------------------------------------------------------------
missing=()
for p in podman runc conmon netavark aardvark-dns iptables catatonit; do
    have "$p" || missing+=("$p")
done
busybox=$(command -v busybox || true)
# The dynamically linked flavour (its header names a loader) is no use in an image.
if [ -z "$busybox" ] || head -c 4096 "$busybox" | grep -q -a -F ld-linux; then missing+=(busybox-static); fi
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
# For tests that let system calls fail.
have strace || missing+=(strace)
# For tests that set the wall clock of the daemon.
compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || missing+=(libfaketime)
if [ ${#missing[@]} -gt 0 ]; then apt_install "${missing[@]}"; fi

lock_bed

# --- stale run state --------------------------------------------------------
# The run directories must not outlive a boot (nor the store they belong to):
# Podman would take yesterday's containers for running ones.
read -r boot </proc/sys/kernel/random/boot_id
if [ -e "$RUN" ] && { [ "$(cat "$RUN/boot" 2>/dev/null)" != "$boot" ] || [ ! -d "$BED/storage" ]; }; then
    umount_under "$RUN"
    rm -rf "$RUN"
fi
mkdir -p "$BED/storage" "$BED/networks" "$BED/images" "$BED/cache"
(umask 077 && mkdir -p "$RUN")
printf '%s\n' "$boot" >"$RUN/boot"

# --- configuration ----------------------------------------------------------
if [ ! -s "$BED/driver" ]; then
    t=$(mktemp -d "$BED/overlay.XXXXXX")
    mkdir "$t/lower" "$t/upper" "$t/work" "$t/merged"
    if mount -t overlay overlay -o "lowerdir=$t/lower,upperdir=$t/upper,workdir=$t/work" "$t/merged" 2>/dev/null; then
        umount "$t/merged"
        echo overlay >"$BED/driver"
    else
        echo vfs >"$BED/driver"
    fi
    rm -rf "$t"
fi
read -r driver <"$BED/driver"

# Podman's own defaults (nofile and nproc 1048576) fail where the caller may not
# raise its limits. Soft and hard must be equal: Podman 4.3 swaps them on the
# REST and kube-play paths. Values sent in a create request win over these.
limit() {
    local hard=$1
    if [ "$hard" = unlimited ] || [ "$hard" -gt 4096 ]; then hard=4096; fi
    printf '%s:%s' "$hard" "$hard"
}

# put FILE: standard input to FILE, touching it only when it differs.
put() {
    local new
    new=$(cat)
    if [ ! -e "$1" ] || [ "$new" != "$(<"$1")" ]; then printf '%s\n' "$new" >"$1"; fi
}

put "$CONTAINERS_CONF" <<END
# Written by tests/testbed/up.sh
[containers]
default_ulimits = ["nofile=$(limit "$(ulimit -Hn)")", "nproc=$(limit "$(ulimit -Hu)")"]
log_driver = "k8s-file"

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "$RUN/t"
# The default, one shared-memory segment for all stores of the host, would let a
# second bed free the locks of this one.
lock_type = "file"
image_copy_tmp_dir = "storage"

[network]
network_backend = "netavark"
network_config_dir = "$BED/networks"
default_subnet = "$POOL.255.0/24"
default_subnet_pools = [{ base = "$POOL.0.0/16", size = 24 }]
END

put "$CONTAINERS_STORAGE_CONF" <<END
# Written by tests/testbed/up.sh
[storage]
driver = "$driver"
graphroot = "$BED/storage"
runroot = "$RUN/r"
END

# --- images -----------------------------------------------------------------
images=(localhost/busybox:1 localhost/ep:1 localhost/python:3.10)
stamp=$(cat "${BASH_SOURCE[0]}" "$here/lib.sh" | sha256sum)
stamp=${stamp%% *}

all_there() {
    [ "$(cat "$BED/stamp" 2>/dev/null)" = "$stamp" ] && [ -s "$BED/images/busybox.tar" ] || return 1
    local have_now i
    have_now=$(podman images --noheading --format '{{.Repository}}:{{.Tag}}')
    for i in "${images[@]}"; do grep -q -x -F "$i" <<<"$have_now" || return 1; done
}
if all_there; then
    say "ready ($BED)"
    exit 0
fi
rm -f "$BED/stamp"

work=$(mktemp -d "$BED/build.XXXXXX")
trap 'rm -rf "$work"' EXIT

# skeleton ROOT: directories and accounts; ROOT/bin may already be a link.
skeleton() {
    mkdir -p "$1"/{dev,etc,proc,sys,root,run,home/app,var,data}
    [ -e "$1/bin" ] || mkdir "$1/bin"
    install -d -m 1777 "$1/tmp" "$1/var/tmp"
    chmod 700 "$1/root"
    chown 1000:1000 "$1/home/app"
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'app:x:1000:1000:app:/home/app:/bin/sh' \
        'nobody:x:65534:65534:nobody:/:/bin/false' >"$1/etc/passwd"
    printf '%s\n' 'root:x:0:' 'app:x:1000:' 'nogroup:x:65534:' >"$1/etc/group"
    printf '%s\n' 'passwd: files' 'group: files' 'hosts: files dns' >"$1/etc/nsswitch.conf"
    install -m 755 "$busybox" "$1/bin/busybox"
}

# import IMAGE ROOT CHANGE...: ROOT becomes the one layer of IMAGE.
import() {
    local image=$1 root=$2 old change=()
    shift 2
    while [ $# -gt 0 ]; do change+=(-c "$1"); shift; done
    old=$(podman image inspect --format '{{.Id}}' "$image" 2>/dev/null || true)
    tar -C "$root" --numeric-owner --sort=name --mtime=@0 -cf - . |
        podman import --quiet "${change[@]}" - "$image" >/dev/null
    # The one it replaces; stays, untagged, if a container still uses it.
    if [ -n "$old" ]; then podman rmi "$old" >/dev/null 2>&1 || true; fi
}

say "image localhost/busybox:1"
busybox=$(command -v busybox)
root=$work/busybox
skeleton "$root"
"$busybox" --list | while read -r applet; do
    [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
done
import localhost/busybox:1 "$root" 'CMD ["/bin/sh"]' 'ENV PATH=/bin'

say "image localhost/ep:1"
import localhost/ep:1 "$root" 'ENTRYPOINT ["echo","EP"]' 'CMD ["defcmd"]' 'ENV PATH=/bin'

say "archive images/busybox.tar"
rm -f "$BED/images/busybox.tar"
podman save --quiet --format docker-archive -o "$work/busybox.tar" localhost/busybox:1
mv "$work/busybox.tar" "$BED/images/busybox.tar"

# Not Python 3.10: this is the Python of the Debian release the host runs (3.11
# in Debian 12), under the tag that the documented example manifests name, so
# that those manifests run here without a registry. Standard library only, less
# the modules whose C libraries are left out (curses, readline, sqlite3, dbm, nis).
say "image localhost/python:3.10"
py_packages() {
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances python3-minimal libpython3-stdlib |
        grep -E '^(libc6|zlib1g|(python3|libpython3|libexpat|libbz2-|liblzma|libcrypt[0-9]|libffi|libuuid|libgcc-s|libssl|libzstd)[^:]*)$' | sort -u
}
debs=$BED/cache/python-debs
if [ ! -e "$debs/.complete" ]; then
    command -v apt-get >/dev/null || die "apt-get not found; the Python image is made from: python3-minimal libpython3-stdlib and their libraries"
    rm -rf "$debs"
    mkdir -p "$debs"
    mapfile -t packages < <(py_packages)
    if ! (cd "$debs" && apt-get -q -o APT::Sandbox::User=root download "${packages[@]}") >"$BED/apt.log" 2>&1; then
        apt-get -q -o DPkg::Lock::Timeout=300 update >"$BED/apt.log" 2>&1 || true
        mapfile -t packages < <(py_packages)
        (cd "$debs" && apt-get -q -o APT::Sandbox::User=root download "${packages[@]}") >>"$BED/apt.log" 2>&1 ||
            die "apt-get could not download: ${packages[*]} (see $BED/apt.log)"
    fi
    touch "$debs/.complete"
fi
root=$work/python
mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
for d in bin sbin lib lib64; do ln -s "usr/$d" "$root/$d"; done
# Through tar, because dpkg -x would replace the links of the merged /usr by directories.
for deb in "$debs"/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" --keep-directory-symlink -xf -; done
rm -rf "$root"/usr/share/{doc,man,lintian,binfmts,python3} "$root"/usr/lib/python3*/{test,idlelib,lib2to3,distutils}
skeleton "$root"
for applet in sh cat echo env id kill ls mkdir mv nc nslookup rm sleep true false wget; do
    ln -sf busybox "$root/usr/bin/$applet"
done
ln -sf python3 "$root/usr/bin/python"
chroot "$root" /usr/bin/python3 -B -c 'import argparse, hashlib, json, logging, os, random, signal, socket, struct, sys, threading, time' ||
    die "the Python image does not work"
import localhost/python:3.10 "$root" 'CMD ["python3"]' 'ENV PATH=/usr/local/bin:/usr/bin:/bin' 'ENV LANG=C.UTF-8'

# Podman assembles its pause image when the first Pod asks for it; not during a test.
say "pause image"
podman pod rm --force --ignore warm-up >/dev/null
podman pod create --name warm-up >/dev/null 9>&-
podman pod rm --force warm-up >/dev/null

printf '%s\n' "$stamp" >"$BED/stamp"
say "ready ($BED)"
