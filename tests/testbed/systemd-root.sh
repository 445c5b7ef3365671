#!/usr/bin/env bash
# Makes localhost/systemd:1 in the test bed's store: a minimal Debian 12 with a
# real systemd as /sbin/init, to try the unit file in. Safe to run again.
#   podman run -d --systemd=always --privileged --cgroupns=private \
#     -v BIN:/usr/local/bin/NAME:ro -v UNIT:/etc/systemd/system/NAME.service:ro localhost/systemd:1
# Without --privileged systemd silently skips the mount sandbox of a unit.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

image=localhost/systemd:1
suite=bookworm
packages=systemd,systemd-sysv,dbus,procps,util-linux

need_root "it runs debootstrap; needed package: debootstrap"
"$here/up.sh"
lock_bed

stamp=$(sha256sum <"${BASH_SOURCE[0]}")
stamp=${stamp%% *}
if [ "$(cat "$BED/stamp.systemd" 2>/dev/null)" = "$stamp" ] && podman image exists "$image"; then
    say "$image ready"
    exit 0
fi

have debootstrap || apt_install debootstrap
have debootstrap || die "debootstrap not found"

# The mirror that apt uses on this machine for this suite; failing that, for any
# Debian suite's main component.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(CODENAME) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' |
    awk -v suite="$suite" '
        $4 != "main" { next }
        $2 == suite || $3 == suite { print $1; found = 1; exit }
        $5 == "Debian" && !any { any = $1 }
        END { if (!found && any) print any }')
[ -n "$mirror" ] || die "apt has no Debian source configured to fetch $suite from"

work=$(mktemp -d "$BED/build.XXXXXX")
cleanup() {
    umount_under "$work"
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

say "debootstrap $suite (about a minute)"
root=$work/root
debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" >"$BED/debootstrap.log" 2>&1 ||
    die "debootstrap failed (see $BED/debootstrap.log)"
umount_under "$root"

rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
    "$root"/usr/share/{doc,man,locale,info,lintian} "$root"/etc/apt/sources.list "$root"/tmp/*
rm -rf "$root"/dev/* "$root"/etc/hostname "$root"/etc/resolv.conf
: >"$root/etc/machine-id" # a new one at each boot
mkdir -p "$root/var/log/journal" # persistent, so that a restart keeps the log
for unit in systemd-modules-load.service getty@tty1.service console-getty.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

say "image $image"
old=$(podman image inspect --format '{{.Id}}' "$image" 2>/dev/null || true)
tar -C "$root" --numeric-owner --xattrs -cf - . |
    podman import --quiet -c 'CMD ["/sbin/init"]' -c 'STOPSIGNAL SIGRTMIN+3' \
        -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' -c 'ENV container=podman' \
        - "$image" >/dev/null
if [ -n "$old" ]; then podman rmi "$old" >/dev/null 2>&1 || true; fi

printf '%s\n' "$stamp" >"$BED/stamp.systemd"
say "$image ready"
