#!/usr/bin/env bash
# Installs, starts, uses, upgrades and purges the package in a Debian of its own, as the unit and the users of a real machine
# do: packaging/deb/root.sh. Needs root and mmdebstrap, which fetches that Debian. BINARY and FEATURES as for build.sh; PREVIOUS
# is the package of an earlier version that is upgraded from, else it is the same version once more. Ends with 77 where no Debian can
# be had.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
root=$work/root
daemon=
step() { echo "== $*"; }
fail() {
  echo "FAILED: $*" >&2
  cat "$work/daemon.log" >&2 || true
  exit 1
}
clean() {
  stop || true
  umount "$root/proc" 2> /dev/null || true
  rm -rf --one-file-system "$work"
}
trap clean EXIT

inside() { chroot "$root" "$@"; }
as() {
  local user=$1
  shift
  inside setpriv --reset-env --reuid "$user" --regid "$user" --init-groups "$@"
}

# As the unit has it: its command, its user, its UMask and its folder.
start() {
  local unit=$root/usr/lib/systemd/system/zimaged.service
  local command
  command=$(sed -n 's/^ExecStart=//p' "$unit")
  as zimaged sh -c "umask $(sed -n 's/^UMask=//p' "$unit"); cd /var/lib/zimaged; echo \$\$ > state/test.pid; exec $command" \
    >> "$work/daemon.log" 2>&1 &
  daemon=$!
  for _ in $(seq 300); do
    if as zimaged zimaged --config /etc/zimaged/daemon.toml status > /dev/null 2>&1; then return; fi
    sleep 0.2
  done
  fail "the daemon does not start"
}

stop() {
  [ -z "$daemon" ] && return
  kill "$(cat "$root/var/lib/zimaged/state/test.pid")"
  wait "$daemon" || fail "the daemon ended with $?"
  daemon=
}

# A member of the group hands over a job, and waits for its picture.
use() { as guest zimaged submit --wait --prompt "$1" --size 64x64 --steps 1; }

step "a Debian of its own"
mmdebstrap --quiet --variant=minbase --include=systemd,zsh,fish,elvish bookworm "$root" 2> "$work/mmdebstrap.log" || {
  echo "left out: no Debian can be had: $(tail -3 "$work/mmdebstrap.log")"
  exit 77
}
mount -t proc proc "$root/proc"
inside useradd --create-home guest

step build
export COMPRESSION=${COMPRESSION:-gzip}
REVISION=2 packaging/deb/build.sh "$work/new" > /dev/null
if [ -z "${PREVIOUS:-}" ]; then
  packaging/deb/build.sh "$work/old" > /dev/null
  PREVIOUS=$(echo "$work"/old/*.deb)
fi
cp "$PREVIOUS" "$root/old.deb"
cp "$work"/new/*.deb "$root/new.deb"

step install
inside dpkg --install /old.deb
inside usermod --append --groups zimaged guest
[ "$(inside stat -c '%U:%G %a' /var/lib/zimaged/jobs)" = "zimaged:zimaged 2770" ] || fail "the folder of jobs is not the daemon's"

step completions
share=/usr/share
inside bash -n $share/bash-completion/completions/zimaged
inside zsh -n $share/zsh/vendor-completions/_zimaged
inside fish --no-execute $share/fish/vendor_completions.d/zimaged.fish
inside fish --command 'complete --do-complete "zimaged sub"' | grep -q ^submit || fail "fish completes nothing"
# Its editor is there on a terminal only: a map takes the place of its table of completers.
elvish="var completers = [&]; $(sed 's/edit:completion:arg-completer/completers/' "$root$share/zimaged/completions/zimaged.elv")"
inside elvish -c "$elvish; \$completers[zimaged] zimaged sub" | grep -q ^submit || fail "elvish completes nothing"

step "start and use"
start
use "a red circle"
as zimaged zimaged --config /etc/zimaged/daemon.toml pause
as guest zimaged submit --prompt "a blue square" --size 64x64 --steps 1
stop

step upgrade
echo "# a line of the user's" >> "$root/etc/zimaged/daemon.toml"
inside dpkg --install --force-confold /new.deb
grep -q "a line of the user's" "$root/etc/zimaged/daemon.toml" || fail "the user's configuration was replaced"
start
as guest zimaged resume
as guest zimaged wait 2
[ "$(as guest zimaged list --json | grep -o '"state": *"done"' | wc -l)" -ge 2 ] || fail "$(as guest zimaged list)"
as guest zimaged verify
stop

step purge
inside dpkg --purge zimaged
[ ! -e "$root/etc/zimaged" ] && [ ! -e "$root/usr/bin/zimaged" ] || fail "a purge leaves the configuration or the program"
[ "$(find "$root/var/lib/zimaged/outputs" -name '*.png' | wc -l)" = 2 ] || fail "a purge leaves the pictures"
step "all is well"
