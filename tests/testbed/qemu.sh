#!/usr/bin/env bash
# Makes what a whole computer in QEMU starts from, for tests that cut its power:
#   qemu.sh FOLDER PROGRAM...    FOLDER/vmlinuz, FOLDER/initramfs, FOLDER/programs
# Kernel: Debian's for clouds, unpacked in the test bed, never installed. The
# initramfs holds busybox, dmsetup, e2fsck, the kernel's modules in the order of
# their dependencies (/modules/order), and the libraries of all programs. Its
# init is qemu-init.sh. The PROGRAMs are on a disk, of which only what is used is
# read: an emulated processor takes seconds to unpack them. Safe to run again;
# only what follows from the PROGRAMs is made each time. Needs no /dev/kvm.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export PATH=$PATH:/usr/sbin:/sbin

[ $# -ge 2 ] || die "usage: qemu.sh FOLDER PROGRAM..."
folder=$1
shift

image=linux-image-cloud-amd64
case $(uname -m) in
x86_64) ;;
*) die "tests that cut the power run on x86_64 machines only, this is $(uname -m)" ;;
esac

# --- packages ---------------------------------------------------------------
missing=()
have qemu-system-x86_64 || missing+=(qemu-system-x86)
have dmsetup || missing+=(dmsetup)
have e2fsck && have mkfs.ext4 || missing+=(e2fsprogs)
busybox=$(command -v busybox || true)
if [ -z "$busybox" ] || head -c 4096 "$busybox" | grep -q -a -F ld-linux; then missing+=(busybox-static); fi
if [ ${#missing[@]} -gt 0 ]; then apt_install "${missing[@]}"; fi
have qemu-system-x86_64 || die "qemu-system-x86_64 not found"

lock_bed
home=$BED/qemu
mkdir -p "$home" "$folder"

# --- kernel -----------------------------------------------------------------
# fetch_kernel: the package that the meta package stands for, whichever that is today.
fetch_kernel() {
    local package
    package=$(apt-cache depends "$image" | awk '/Depends: linux-image-[0-9]/ { print $2; exit }')
    [ -n "$package" ] && (cd "$1" && apt-get -q -o APT::Sandbox::User=root download "$package") >>"$BED/apt.log" 2>&1
}
if [ ! -e "$home/kernel/.complete" ]; then
    command -v apt-get >/dev/null || die "apt-get not found; the kernel is made from: $image"
    say "kernel for QEMU"
    rm -rf "$home/kernel"
    mkdir -p "$home/kernel"
    : >"$BED/apt.log"
    if ! fetch_kernel "$home/kernel"; then
        apt-get -q -o DPkg::Lock::Timeout=300 update >>"$BED/apt.log" 2>&1 || true
        fetch_kernel "$home/kernel" || die "apt-get could not download: $image (see $BED/apt.log)"
    fi
    dpkg-deb --fsys-tarfile "$home"/kernel/*.deb | tar -C "$home/kernel" -xf - ./boot ./lib
    rm "$home"/kernel/*.deb
    touch "$home/kernel/.complete"
fi

# --- what is the same each time ---------------------------------------------
# with_libraries ROOT PROGRAM...: into ROOT/bin, with the loader and libraries where they are looked for.
with_libraries() {
    local root=$1 program library
    shift
    for program in "$@"; do
        install -D -m 755 "$program" "$root/bin/${program##*/}"
        ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
            [ -e "$root$library" ] || install -D -m 755 "$(realpath "$library")" "$root$library"
        done
    done
}

# module NAME: copies it after what it depends on, each once.
module() {
    local name=${1//-/_} file needs dependency
    [ ! -e "$root/modules/$name.ko" ] || return 0
    file=$(find "$home/kernel/lib/modules" -name "${name//_/[-_]}.ko*" | head -n 1)
    # What is not there as a module is built in.
    [ -n "$file" ] || return 0
    case $file in
    *.xz) xz -dc "$file" ;;
    *.zst) zstd -dcq "$file" ;;
    *) cat "$file" ;;
    esac >"$root/modules/$name.ko"
    needs=$(tr '\0' '\n' <"$root/modules/$name.ko" | sed -n 's/^depends=//p')
    for dependency in ${needs//,/ }; do module "$dependency"; done
    printf '%s\n' "$name" >>"$root/modules/order"
}

# archive ROOT: as a part of an initramfs.
archive() { (cd "$1" && find . | sort | "$busybox" cpio -o -H newc 2>/dev/null); }

work=$(mktemp -d "$home/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
busybox=$(command -v busybox)
stamp=$(cat "${BASH_SOURCE[0]}" "$here/qemu-init.sh" "$busybox" | sha256sum)
if [ "$(cat "$home/stamp" 2>/dev/null)" != "$stamp" ]; then
    say "initramfs for QEMU"
    rm -f "$home/stamp"
    root=$work/base
    mkdir -p "$root"/{bin,dev,etc,modules,proc,programs,sys,run,tmp}
    install -m 755 "$busybox" "$root/bin/busybox"
    "$busybox" --list | while read -r applet; do
        [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
    done
    with_libraries "$root" "$(command -v dmsetup)" "$(command -v e2fsck)"
    : >"$root/modules/order"
    for name in virtio_pci virtio_blk crc32c_generic crc32c_intel ext4 dm_delay dm_log_writes; do module "$name"; done
    for name in dm_delay dm_log_writes; do
        [ -e "$root/modules/$name.ko" ] || die "the kernel has no $name"
    done
    install -m 755 "$here/qemu-init.sh" "$root/init"
    archive "$root" >"$home/base"
    cp "$home"/kernel/boot/vmlinuz-* "$home/vmlinuz"
    printf '%s\n' "$stamp" >"$home/stamp"
fi

# --- what is tested ---------------------------------------------------------
root=$work/programs
mkdir -p "$root"
with_libraries "$root" "$@"
for program in "$@"; do
    # Their symbols are most of their bytes, and of the time it takes to start.
    if have strip; then strip "$root/bin/${program##*/}"; fi
done
rm -f "$folder/programs"
truncate -s 256M "$folder/programs"
mkfs.ext4 -q -F -d "$root/bin" "$folder/programs"
rm -rf "$root/bin"
{
    cat "$home/base"
    archive "$root"
} >"$folder/initramfs"
cp "$home/vmlinuz" "$folder/vmlinuz"
say "QEMU ready ($folder)"
