#!/usr/bin/env bash
# Empties the test bed: every container, Pod, volume and network of it, and what
# a killed Podman left behind (mounts, network namespaces, bridges, firewall
# rules, name-server entries). Images stay. Safe to run at any time.
# What belongs to the bed is told by its paths and by its own range of container
# addresses; nothing else on the host is touched. A network namespace that a
# killed Podman had not given an address yet cannot be told from a stranger's:
# it is named and left, unless --alone says that no other Podman runs here.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

alone=
case ${1-} in
'') ;;
--alone) alone=1 ;;
*) die "usage: down.sh [--alone]" ;;
esac
need_root "it removes containers, network namespaces and bridges"
lock_bed

# --- through Podman ---------------------------------------------------------
bridges=()
if have podman && [ -e "$CONTAINERS_CONF" ] && [ -d "$BED/storage" ]; then
    for f in "$BED"/networks/*.json; do
        [ -e "$f" ] || continue
        b=$(sed -n 's/.*"network_interface": *"\([^"]*\)".*/\1/p' "$f")
        if [ -n "$b" ]; then bridges+=("$b"); fi
    done
    # Each line may fail on a leftover (EBUSY); twice, with the mounts gone in between.
    sweep() {
        podman pod rm --all --force --time 0
        podman rm --all --force --time 0 --volumes
        podman volume prune --force
        podman network ls --quiet | grep -v -x podman | xargs -r podman network rm --force --time 0
    } >"$BED/down.log" 2>&1 </dev/null 9>&- # the lock must not live on in a daemon
    sweep || true
    if [ -n "$(podman ps --all --quiet --external; podman volume ls --quiet)" ]; then
        while read -r m; do
            case $m in "$BED"/storage/*/merged | "$RUN"/*) umount -l -- "$m" 2>/dev/null || true ;; esac
        done < <(awk '{ print $5 }' /proc/self/mountinfo | tac)
        sweep || true
        podman ps --all --quiet --external | xargs -r podman rm --force --time 0 >>"$BED/down.log" 2>&1 || true
    fi
fi

# --- what a killed Podman left ----------------------------------------------
# Containers that runc knows and Podman no longer does (their conmon then ends).
for state in /run/runc/*/state.json; do
    [ -e "$state" ] || continue
    if grep -q -F "\"$BED/storage/" "$state" || grep -q -F "=$BED/storage/" "$state"; then
        id=${state%/state.json}
        runc delete --force "${id##*/}" >>"$BED/down.log" 2>&1 9>&- || true
    fi
done

# Network namespaces with an address of the bed.
for ns in /run/netns/netns-*; do
    [ -e "$ns" ] || continue
    ns=${ns##*/}
    if ip -n "$ns" -4 -o addr show 2>/dev/null | grep -q -F " inet $POOL."; then
        ip netns delete "$ns" || true
    fi
done

# Firewall rules that name the bed's addresses, and the chains they hung on:
# netavark names a network's chains after a hash; the addresses stand inside.
# Then chains that are empty and that nothing jumps to.
if have iptables; then
    for table in nat filter; do
        iptables -w 10 -t "$table" -S 2>/dev/null | awk -v pool=" $POOL." '
            function chain(c) { return c ~ /^NETAVARK-(DN-)?[0-9A-F]+$/ }
            function target(r,  f, k, i) {
                k = split(r, f, " ")
                for (i = 3; i < k; i++) if (f[i] == "-j") return f[i+1]
                return ""
            }
            { rule[NR] = $0; to = target($0) }
            $1 == "-N" && chain($2) { idle[$2] = 1 }
            $1 == "-A" {
                delete idle[$2]
                delete idle[to]
                if (index($0, pool)) {
                    if (chain($2)) own[$2] = 1
                    if (chain(to)) own[to] = 1
                }
            }
            END {
                for (n = 1; n <= NR; n++) {
                    split(rule[n], f, " ")
                    if (f[1] != "-A") continue
                    if ((f[2] in own) || (target(rule[n]) in own) || (f[2] ~ /^NETAVARK/ && index(rule[n], pool))) {
                        sub(/^-A/, "-D", rule[n])
                        print rule[n]
                    }
                }
                for (c in own) print "-X " c
                for (c in idle) print "-X " c
            }' | while read -r rule; do
            # iptables quotes comments; xargs undoes that.
            xargs iptables -w 10 -t "$table" <<<"$rule" 2>/dev/null || true
        done
    done
fi

# Bridges: those the networks named, if nobody else's address is on them, and
# any other podmanN with an address of the bed.
while read -r dev addr; do
    case $dev in podman[0-9]*) ;; *) [[ " ${bridges[*]} " == *" $dev "* ]] || continue ;; esac
    case $addr in "$POOL".*) ip link delete "$dev" 2>/dev/null || true ;; esac
done < <(ip -4 -o addr show | awk '{ print $2, $4 }')

# aardvark-dns entries: one file per network, the gateway on its first line.
dns=/run/containers/networks/aardvark-dns
gone=
for f in "$dns"/*; do
    [ -f "$f" ] && [ "${f##*/}" != aardvark.pid ] || continue
    case $(head -n 1 "$f") in "$POOL".*) rm -f "$f"; gone=1 ;; esac
done
if [ -n "$gone" ] && read -r pid <"$dns/aardvark.pid" 2>/dev/null &&
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = aardvark-dns ]; then
    kill -HUP "$pid" || true # reads the directory again
    if [ "$(ls "$dns")" = aardvark.pid ]; then kill "$pid" || true; fi # serves nobody
fi

# Namespaces without any address.
for ns in /run/netns/netns-*; do
    [ -e "$ns" ] || continue
    ns=${ns##*/}
    [ -z "$(ip -n "$ns" -4 -o addr show scope global 2>/dev/null)" ] || continue
    if [ -n "$alone" ]; then
        ip netns delete "$ns" || true
    else
        say "left: network namespace $ns, which has no address (see --alone)"
    fi
done

rest=0
if [ -e "$CONTAINERS_CONF" ] && [ -e "$CONTAINERS_STORAGE_CONF" ] && have podman; then
    rest=$(podman ps --all --quiet 2>/dev/null | wc -l) || rest=0
fi
if [ "$rest" != 0 ]; then die "$rest containers could not be removed (see $BED/down.log)"; fi
say "empty ($BED)"
