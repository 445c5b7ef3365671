#!/usr/bin/env bash
# Makes localhost/openmpi:1 for the rows that need a real MPI: Debian's Open MPI and login server, nothing more.
# Takes some minutes and 200 MB; safe to run again.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_root "the image is made with debootstrap"
[ -s "$BED/driver" ] || die "no test bed: run tests/testbed/up.sh first"
command -v debootstrap >/dev/null || apt_install debootstrap
lock_bed

image=localhost/openmpi:1
stamp=$(sha256sum <"${BASH_SOURCE[0]}")
if [ "$(cat "$BED/mpi-stamp" 2>/dev/null)" = "$stamp" ] && podman image exists "$image"; then
    say "$image ready"
    exit 0
fi

# The release and the mirror that the host itself uses.
. /etc/os-release
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
work=$(mktemp -d "$BED/mpi.XXXXXX")
trap 'umount_under "$work"; rm -rf "$work"' EXIT
root=$work/root
say "image $image (debootstrap $VERSION_CODENAME)"
debootstrap --variant=minbase --include=openmpi-bin,openssh-server "$VERSION_CODENAME" "$root" "$mirror" >"$BED/mpi.log" 2>&1 ||
    die "debootstrap failed (see $BED/mpi.log)"
chroot "$root" ssh-keygen -A >>"$BED/mpi.log" 2>&1
mkdir -p "$root/run/sshd" "$root/data"
cat >"$root/etc/ssh/sshd_config.d/gang.conf" <<END
# The keys come read-only from the board, owned by whoever runs the gang.
StrictModes no
UsePAM no
PermitRootLogin yes
PidFile none
END
# Its containers have no audit, no wtmp, and no more than they need.
rm -rf "$root"/usr/share/{doc,man,locale} "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
old=$(podman image inspect --format '{{.Id}}' "$image" 2>/dev/null || true)
tar -C "$root" --numeric-owner -cf - . | podman import --quiet -c 'CMD ["/usr/sbin/sshd","-De"]' \
    -c 'ENV OMPI_ALLOW_RUN_AS_ROOT=1' -c 'ENV OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1' - "$image" >/dev/null
[ -z "$old" ] || podman rmi "$old" >/dev/null 2>&1 || true
printf '%s\n' "$stamp" >"$BED/mpi-stamp"
say "$image ready"
