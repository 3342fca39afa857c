#!/usr/bin/env bash
# The tests of the pages in Debian's chromium, against the program that is built already. What is missing is installed, where
# this user may and the machine's package sources have it; else it is said, and the end is 77.
#
#     tests/browser/run.sh                 # all
#     tests/browser/run.sh journeys        # one file
#
# Screenshots and what was measured lie in target/browser afterwards. ZIMAGED_PROGRAM names another program than that of the
# development build.
set -euo pipefail
cd "$(dirname "$0")/../.."

left_out() {
  echo "left out: the pages are not tested in a browser: $1"
  exit 77
}

mkdir -p target/browser
missing=()
for program in node npm chromium; do
  command -v "$program" > /dev/null || missing+=("${program/node/nodejs}")
done
# Without these, Chinese comes out as empty boxes.
[ -d /usr/share/fonts/opentype/noto ] || missing+=(fonts-noto-cjk)
if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || left_out "there is no ${missing[*]}"
  (timeout 45 apt-get update && timeout 90 apt-get install --yes --no-install-recommends "${missing[@]}") > target/browser-install.log 2>&1 \
    || left_out "${missing[*]} cannot be installed, see target/browser-install.log"
fi

cp tests/browser/package.json tests/browser/package-lock.json target/browser/
timeout 45 npm ci --prefix target/browser --silent --no-audit --no-fund || left_out "npm has not what package.json names"

export ZIMAGED_PROGRAM=${ZIMAGED_PROGRAM:-$PWD/target/debug/zimaged}
# Some 100 s on two idle cores; a slow and busy machine takes a few times that.
timeout 900 node --test tests/browser/${1:-*}.test.mjs
