#!/usr/bin/env bash
# Installs, uses, upgrades and purges the package in a root of its own, as any user of a Debian machine may:
# packaging/deb/test.sh. BINARY and FEATURES as for build.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
step() { echo "== $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
in_root() { fakeroot -- dpkg --root="$root" --force-script-chrootless --force-not-root --force-depends "$@"; }

step build
export COMPRESSION=${COMPRESSION:-gzip}
packaging/deb/build.sh "$work/one"
REVISION=2 packaging/deb/build.sh "$work/two"
one=$(echo "$work"/one/*.deb) two=$(echo "$work"/two/*.deb)
dpkg-deb --info "$one"
mkdir -p "$root/var/lib/dpkg" "$root/etc"
touch "$root/var/lib/dpkg/status"

if command -v lintian > /dev/null; then
  step lintian
  # Also what it only warns of, but for the one that asks which bug of Debian's a first upload closes: it goes nowhere.
  lintian --no-cfg --allow-root --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs "$one"
else
  step "lintian is not installed: left out"
fi

step install
in_root --install "$one"
for file in usr/bin/zimaged etc/zimaged/daemon.toml usr/lib/systemd/system/zimaged.service usr/share/man/man1/zimaged.1.gz \
  usr/share/bash-completion/completions/zimaged usr/share/zsh/vendor-completions/_zimaged \
  usr/share/fish/vendor_completions.d/zimaged.fish usr/share/zimaged/completions/zimaged.elv \
  usr/share/zimaged/completions/zimaged.ps1 usr/share/doc/zimaged/copyright usr/share/doc/zimaged/THIRD-PARTY.md.gz; do
  [ -s "$root/$file" ] || fail "$file is missing"
done
for folder in jobs outputs state models loras wildcards; do
  [ -d "$root/var/lib/zimaged/$folder" ] || fail "var/lib/zimaged/$folder is missing"
done
(cd "$root" && md5sum --quiet --check var/lib/dpkg/info/zimaged.md5sums) || fail "files differ from the package's"

step use
config=$work/daemon.toml
sed "s|\"/var/lib|\"$root/var/lib|" "$root/etc/zimaged/daemon.toml" > "$config"
printf '\n[http]\nenabled = false\n' >> "$config"
printf 'prompt = "a red circle"\nsize = "64x64"\nsteps = 1\n' > "$work/job.toml"
zimaged=$root/usr/bin/zimaged
timeout 300 "$zimaged" --config "$config" run --until-idle "$work/job.toml"
[ "$(ls "$root/var/lib/zimaged/outputs" | wc -l)" = 1 ] || fail "there is no picture"

step completions
share=$root/usr/share
bash -n "$share/bash-completion/completions/zimaged"
# Debian has no PowerShell: a grammar of its language reads the script.
if python3 -m venv "$work/grammar" && "$work/grammar/bin/pip" install --quiet tree-sitter==0.26.1 tree-sitter-powershell==0.26.4; then
  "$work/grammar/bin/python" - "$share/zimaged/completions/zimaged.ps1" << 'END' || fail "the script for PowerShell is not PowerShell"
import pathlib, sys, tree_sitter, tree_sitter_powershell
parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
sys.exit(parser.parse(pathlib.Path(sys.argv[1]).read_bytes()).root_node.has_error)
END
else
  step "no grammar of PowerShell can be had: its script is left out"
fi

step upgrade
echo "# a line of the user's" >> "$root/etc/zimaged/daemon.toml"
in_root --install "$two"
grep -q "a line of the user's" "$root/etc/zimaged/daemon.toml" || fail "the user's configuration was replaced"
timeout 300 "$zimaged" --config "$config" list | grep -q done || fail "the history is gone"

step remove and purge
in_root --remove zimaged
[ ! -e "$zimaged" ] && [ -e "$root/etc/zimaged/daemon.toml" ] || fail "a removal keeps the configuration alone"
in_root --purge zimaged
[ ! -e "$root/etc/zimaged/daemon.toml" ] || fail "a purge removes the configuration"
[ "$(ls "$root/var/lib/zimaged/outputs" | wc -l)" = 1 ] || fail "a purge leaves the pictures"
left=$(find "$root" -type f ! -path "$root/var/lib/dpkg/*" ! -path "$root/var/lib/zimaged/*" ! -path "$root/etc/*" ! -path "$root/var/log/*")
[ -z "$left" ] || fail "a purge leaves $left"
step "all is well"
