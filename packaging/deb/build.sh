#!/usr/bin/env bash
# Makes a Debian package of this checkout: packaging/deb/build.sh FOLDER puts it there.
# FEATURES=cuda builds for cards (nvcc is needed, CUDA's libraries are not: they are opened when a card is asked for);
# BINARY=path takes a program that is built already; COMPRESSION=gzip is faster than the usual xz. DEBFULLNAME and DEBEMAIL
# are whoever answers for the package.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:?usage: packaging/deb/build.sh FOLDER}
if [ -z "${BINARY:-}" ]; then
  cargo build --release --locked ${FEATURES:+--features "$FEATURES"}
  BINARY=${CARGO_TARGET_DIR:-target}/release/zimaged
fi
umask 022
version=$("$BINARY" --version | cut -d' ' -f2)-${REVISION:-1}
# Mail to .invalid reaches nobody (RFC 2606), which is so while nobody has said who answers.
maintainer="${DEBFULLNAME:-The authors of zimaged} <${DEBEMAIL:-zimaged@packages.invalid}>"
made=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2> /dev/null || date +%s)}
architecture=$(dpkg --print-architecture)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"

install -Dm755 "$BINARY" "$stage/usr/bin/zimaged"
strip "$stage/usr/bin/zimaged"
install -Dm644 packaging/daemon.toml "$stage/etc/zimaged/daemon.toml"
install -Dm644 packaging/systemd/zimaged.service "$stage/usr/lib/systemd/system/zimaged.service"
install -Dm644 packaging/systemd/user/zimaged.service "$stage/usr/lib/systemd/user/zimaged.service"
install -Dm644 packaging/systemd/zimaged.sysusers "$stage/usr/lib/sysusers.d/zimaged.conf"
install -Dm644 packaging/systemd/zimaged.tmpfiles "$stage/usr/lib/tmpfiles.d/zimaged.conf"

share=$stage/usr/share
mkdir -p "$share/man/man1"
"$BINARY" man "$share/man/man1" > /dev/null
gzip -9n "$share"/man/man1/*
completion() { mkdir -p "$(dirname "$share/$2")"; "$BINARY" completions "$1" > "$share/$2"; }
completion bash bash-completion/completions/zimaged
completion zsh zsh/vendor-completions/_zimaged
completion fish fish/vendor_completions.d/zimaged.fish
# These two shells have no folder that packages put scripts into.
completion elvish zimaged/completions/zimaged.elv
completion powershell zimaged/completions/zimaged.ps1

doc=$share/doc/zimaged
install -Dm644 -t "$doc" README.md README.zh.md daemon.toml THIRD-PARTY.md
install -Dm644 -t "$doc/docs" docs/*.md docs/*.png
cp -r --no-preserve=mode docs/reports "$doc/docs/"
install -Dm644 -t "$doc/examples" examples/*.toml
gzip -9nc CHANGELOG.md > "$doc/changelog.gz"
{
  printf 'zimaged (%s) unstable; urgency=medium\n\n  * What is new stands in changelog.gz.\n\n' "$version"
  printf ' -- %s  %s\n' "$maintainer" "$(LC_ALL=C date -u -R --date="@$made")"
} | gzip -9n > "$doc/changelog.Debian.gz"
{
  echo "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
  echo "Upstream-Name: zimaged"
  echo
  echo "Files: *"
  echo "Copyright: $(date -u --date="@$made" +%Y) the authors of zimaged"
  echo "License: Apache-2.0"
  echo "Comment: The crates that are linked into the program, with their licences, stand in THIRD-PARTY.md."
  echo
  echo "License: Apache-2.0"
  echo " On Debian systems the text of this licence stands in /usr/share/common-licenses/Apache-2.0."
} > "$doc/copyright"
gzip -9n "$doc/THIRD-PARTY.md"

# The newest version of the C library that a function of the program has.
libc=$(objdump -T "$stage/usr/bin/zimaged" | grep -o 'GLIBC_2\.[0-9]*' | sort -V | tail -1)
mkdir "$stage/DEBIAN"
cat > "$stage/DEBIAN/control" <<END
Package: zimaged
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Section: graphics
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$stage" | cut -f1)
Depends: libc6 (>= ${libc#GLIBC_}), libgcc-s1
Recommends: systemd | systemd-standalone-sysusers, systemd | systemd-standalone-tmpfiles
Suggests: sqlite3
Description: batch rendering daemon for Z-Image-Turbo
 Drop a TOML job into a folder; the pictures appear in another one, and the
 history in an SQLite database. Each render is made to fit the memory there
 is, and nothing that was accepted is lost by a crash or a power cut.
END
echo /etc/zimaged/daemon.toml > "$stage/DEBIAN/conffiles"
install -m755 packaging/deb/postinst packaging/deb/prerm packaging/deb/postrm "$stage/DEBIAN/"
(cd "$stage" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) > "$stage/DEBIAN/md5sums"

mkdir -p "$out"
dpkg-deb --root-owner-group ${COMPRESSION:+-Z"$COMPRESSION"} --build "$stage" "$out/zimaged_${version}_$architecture.deb"
