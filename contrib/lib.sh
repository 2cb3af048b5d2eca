# What contrib/run, contrib/test and contrib/check share: set up a Debian machine, start and stop an
# engine, build Hythe, serve. Sourced by bash with `set -euo pipefail`; defines functions, does nothing.
# Every process started here is stopped by its own PID, never by name.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
engine_socket=${HYTHE_RUNTIME_ENGINE:-/var/run/docker.sock}
engine_pid=''       # set when we started dockerd ourselves
engine_unit=''      # set when we started it through systemd
stop_list=()        # functions to call at exit, last first

say() { printf '=====> %s\n' "$*"; }
note() { printf '       %s\n' "$*"; }
fail() {
  printf '\nerror: %s\n' "$1" >&2
  shift
  [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
  exit 1
}

# Runs its words as root.
root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo --preserve-env "$@"; fi
}

# The same in place of this shell: as the last words of a background job, so that $! is theirs. In a session of
# its own: Ctrl-C reaches us first, and we stop it in our order.
become_root() {
  if [ "$(id -u)" -eq 0 ]; then exec setsid "$@"; else exec sudo --preserve-env setsid "$@"; fi
}

at_exit() { stop_list=("$1" "${stop_list[@]}"); }

run_stop_list() {
  local code=$? step
  trap - EXIT
  trap '' INT TERM HUP
  set +e
  for step in "${stop_list[@]}"; do "$step"; done
  exit "$code"
}
trap run_stop_list EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# until_true SECONDS WORDS…: tries until the words succeed; fails when the time is over.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

alive() { [ -n "$1" ] && [ -d "/proc/$1" ]; }
gone() { ! alive "$1"; }

# stop_pid PID SECONDS: SIGTERM, this long, SIGKILL. A child of ours is reaped.
stop_pid() {
  alive "$1" || return 0
  root kill -TERM "$1" 2>/dev/null || true
  until_true "$2" gone_or_zombie "$1" || root kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}
gone_or_zombie() { gone "$1" || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

port_of() { printf '%s' "${1##*:}"; }
port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Packages ------------------------------------------------------------------------------------

missing=()
need() { # need PACKAGE COMMAND: remembers the package when the command is not there
  PATH="$PATH:/usr/sbin:/sbin" command -v "$2" >/dev/null 2>&1 || missing+=("$1")
}

install_packages() {
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null 2>&1; then
    fail 'this needs root: to install packages and to start the engine' 'run it as root, or install sudo'
  fi
  need docker.io dockerd
  # From Debian 13 on, the client is a package of its own.
  command -v dockerd >/dev/null 2>&1 && need docker-cli docker
  need iptables iptables
  need mmdebstrap mmdebstrap
  need gcc cc
  need git git
  need openssh-client ssh
  need curl curl
  need procps ps
  need iproute2 ip
  [ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
  [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
  # Where the kernel has AppArmor on, no container starts without its parser.
  [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ] && need apparmor apparmor_parser
  for package in "$@"; do missing+=("$package"); done
  if [ ${#missing[@]} -eq 0 ]; then
    say 'Packages: nothing is missing'
    return
  fi
  command -v apt-get >/dev/null 2>&1 ||
    fail "these are missing: ${missing[*]}" 'they are installed by itself on Debian only'
  say "Packages: installing ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { root apt-get update -q && root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    fail "apt-get could not install ${missing[*]}"
  fi
  rm -f "$log"
  missing=()
  hash -r
  command -v docker >/dev/null 2>&1 || { need docker-cli docker && install_packages; }
}

builder=()          # words before cargo: through sudo, the toolchain and the target directory are the caller's
find_cargo() {
  local home
  for home in "${CARGO_HOME:-}" "$HOME/.cargo"; do
    if ! command -v cargo >/dev/null 2>&1 && [ -x "$home/bin/cargo" ]; then PATH=$home/bin:$PATH; fi
  done
  if [ "$(id -u)" -eq 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then
    home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
    if ! command -v cargo >/dev/null 2>&1 && [ -x "$home/.cargo/bin/cargo" ]; then
      builder=(runuser -u "$SUDO_USER" -- env "HOME=$home")
      PATH=$home/.cargo/bin:$PATH
    fi
  fi
  command -v cargo >/dev/null 2>&1 ||
    fail 'no Rust toolchain: cargo is not in PATH' "Hythe needs Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$top/Cargo.toml") or newer"
}

# Engine --------------------------------------------------------------------------------------

engine_answers() { root curl -s --max-time 5 --unix-socket "$engine_socket" -o /dev/null http://engine/_ping; }

start_engine() {
  if engine_answers; then
    say "Engine: answers on $engine_socket"
    return
  fi
  [ "$engine_socket" = /var/run/docker.sock ] ||
    fail "no engine answers on $engine_socket" 'start it, or unset HYTHE_RUNTIME_ENGINE to have one started'
  at_exit stop_engine
  if [ -d /run/systemd/system ]; then
    say 'Engine: starting Docker through systemd'
    root systemctl start docker || fail 'systemctl start docker failed' 'journalctl -u docker has the cause'
    engine_unit=docker
  else
    engine_log=${TMPDIR:-/tmp}/hythe-dockerd.log
    say "Engine: starting dockerd (log: $engine_log)"
    mount_cgroups
    choose_iptables
    # A PID file left by a machine that went down is no engine.
    root rm -f /var/run/docker.pid
    become_root dockerd >"$engine_log" 2>&1 </dev/null &
    engine_pid=$!
  fi
  if ! until_true 60 engine_answers; then
    [ -z "$engine_pid" ] || tail -n 20 "$engine_log" >&2
    fail "the engine does not answer on $engine_socket"
  fi
}

stop_engine() {
  if [ -n "$engine_unit" ]; then
    say 'Engine: stopping Docker'
    root systemctl stop docker.socket docker
  elif [ -n "$engine_pid" ]; then
    say 'Engine: stopping dockerd'
    local pid
    # Through sudo, what we started is sudo; the engine itself says who it is.
    pid=$(cat /var/run/docker.pid 2>/dev/null) || pid=$engine_pid
    stop_pid "$pid" 30
    wait "$engine_pid" 2>/dev/null || true
  fi
}

# Without an init system nobody has mounted the control groups that containers are bounded by.
mount_cgroups() {
  [ -e /sys/fs/cgroup/cgroup.controllers ] && return
  [ -d /sys/fs/cgroup/memory ] && return
  if grep -q '^memory.*0.*1$' /proc/cgroups && ! grep -q cgroup2 /proc/filesystems && command -v cgroupfs-mount >/dev/null 2>&1; then
    root cgroupfs-mount
  else
    root mount -t cgroup2 none /sys/fs/cgroup || note 'the control groups cannot be mounted; the engine will say more'
  fi
}

# Some kernels have only one of the two packet filters that iptables can speak to.
choose_iptables() {
  root iptables -t nat -nL >/dev/null 2>&1 && return
  if command -v iptables-legacy >/dev/null 2>&1 && root iptables-legacy -t nat -nL >/dev/null 2>&1; then
    note 'this kernel filters packets the old way: choosing iptables-legacy'
    root update-alternatives --set iptables /usr/sbin/iptables-legacy >/dev/null
    root update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy >/dev/null || true
  fi
}

docker_cli() { root docker -H "unix://$engine_socket" "$@"; }

# remove_containers PATTERN: containers, networks and images of the prefixes that match.
remove_of() {
  local pattern=$1 id prefix
  engine_answers || return 0
  docker_cli ps -a --format '{{.ID}} {{.Label "hythe.prefix"}}' --filter label=hythe.prefix | while read -r id prefix; do
    # shellcheck disable=SC2254
    case $prefix in $pattern) docker_cli rm -f -v "$id" >/dev/null 2>&1 </dev/null ;; esac
  done
  docker_cli network ls --format '{{.ID}} {{.Label "hythe.prefix"}}' --filter label=hythe.prefix | while read -r id prefix; do
    # shellcheck disable=SC2254
    case $prefix in $pattern) docker_cli network rm "$id" >/dev/null 2>&1 </dev/null ;; esac
  done
}

# remove_images PATTERN: images of the repositories PATTERN/….
remove_images() {
  local name
  engine_answers || return 0
  docker_cli images --format '{{.Repository}}:{{.Tag}}' | while read -r name; do
    # shellcheck disable=SC2254
    case ${name%%/*} in $1) docker_cli rmi -f "$name" >/dev/null 2>&1 </dev/null ;; esac
  done
}

# Hythe ---------------------------------------------------------------------------------------

build_hythe() {
  find_cargo
  local flags=()
  # The development profile builds cold in two minutes where release takes more than five.
  profile=${HYTHE_PROFILE:-dev}
  [ "$profile" = dev ] || flags=(--profile "$profile")
  say "Build: cargo build (profile $profile)"
  (cd "$top" && "${builder[@]}" cargo build --locked --bin hythe "${flags[@]}") || fail 'the build failed'
  local folder=$profile
  [ "$profile" != dev ] || folder=debug
  hythe=${CARGO_TARGET_DIR:-$top/target}/$folder/hythe
}
