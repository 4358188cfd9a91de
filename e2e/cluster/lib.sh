# What the scripts of the cluster share: where it lives, and how its processes begin and end. Sourced, not run.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Everything on disk, and everything that must not outlive a reboot. One cluster a machine: its names are fixed.
place=${THALWEG_CLUSTER:-/var/lib/thalweg-cluster}
run=/run/thalweg-cluster
nodes="1 2"
# Folders that containerd, CNI and kubelets make beside their own.
beside="/var/lib/cni /var/lib/kubelet /var/log/containers /run/containerd"
api=172.30.77.10

say() { echo "$@" >&2; }

need_root() {
    [ "$(id -u)" = 0 ] || { say "The cluster needs root: it makes network namespaces and runs containers."; exit 1; }
}

# Installs what is missing where it can (Debian, Ubuntu), and says what is missing where it cannot.
need_tools() {
    local tool package missing=()
    while read -r tool package; do
        command -v "$tool" >/dev/null || [ -x "$tool" ] || missing+=("$package")
    done <<'TOOLS'
containerd containerd
ctr containerd
runc runc
/usr/lib/cni/bridge containernetworking-plugins
iptables iptables
conntrack conntrack
openssl openssl
ip iproute2
python3 python3
TOOLS
    [ ${#missing[@]} -gt 0 ] || return 0
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        apt-get update -qq >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
    else
        say "Please install: ${missing[*]}"
        exit 1
    fi
}

# Runs a program in a network namespace. Not `ip netns exec`: that mounts /sys anew, and the kubelet finds no cgroups.
within() {
    local name=$1
    shift
    nsenter --net="/run/netns/$name" "$@"
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $end ]; then
            say "It did not come true in time: $*"
            return 1
        fi
        sleep 0.1
    done
}

# When a process started, in ticks since boot: with its id it names one process for ever.
started() { awk '{ sub(/^.*\) /, ""); print $20 }' "/proc/$1/stat" 2>/dev/null; }

# begin NAME COMMAND...: in the background, in a session of its own, with a log.
begin() {
    local name=$1
    shift
    setsid "$@" >"$place/log/$name.log" 2>&1 </dev/null &
    echo "$! $(started $!)" >"$place/pid/$name"
}

# finish NAME...: asks all of them, waits, and insists.
finish() {
    local name id since
    for name in "$@"; do
        read -r id since 2>/dev/null <"$place/pid/$name" && [ "$(started "$id")" = "$since" ] && kill "$id"
    done
    for name in "$@"; do
        read -r id since 2>/dev/null <"$place/pid/$name" || continue
        for _ in $(seq 50); do
            [ "$(started "$id")" = "$since" ] || break
            sleep 0.1
        done
        [ "$(started "$id")" = "$since" ] && kill -9 "$id"
        rm -f "$place/pid/$name"
    done
    return 0
}

# What the cluster could leave on this machine, one a line: processes of its own, network namespaces, interfaces, mounts.
traces() {
    local process words file
    {
        for process in /proc/[0-9]*; do
            # One that has ended says nothing.
            words=$(tr '\0' ' ' <"$process/cmdline") || continue
            [ -n "$words" ] || continue
            case "$words $(readlink "$process/cwd") $(cat "$process/cgroup")" in
                *"$place"* | *"$run"* | */k8s.io/*) echo "process ${process#/proc/}: $words" ;;
            esac
        done
        for file in /run/netns/*; do [ ! -e "$file" ] || echo "network namespace ${file##*/}"; done
        for file in /sys/class/net/*; do echo "interface ${file##*/}"; done
        awk '{ print "mount " $2 }' /proc/mounts
    } 2>/dev/null | sort -u
}

# The containers of a node: their folders under containerd's state.
bundles() { find "$run/n$1/io.containerd.runtime.v2.task/k8s.io" -mindepth 1 -maxdepth 1 -type d 2>/dev/null; }
