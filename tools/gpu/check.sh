#!/usr/bin/env bash
# What a card does with the full-size model when most of its memory is taken away: rungs, predicted and measured peaks,
# seconds by stage. Needs an NVIDIA card, 22 GB of disk, Python 3 without packages, and a binary built with
#
#     cargo build --release --features cuda
#
#     tools/gpu/check.sh [ZIMAGED] [FOLDER]
#
# Under 9 minutes; the weights in FOLDER are kept for the next time. Copy the table into docs/gpu.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
zimaged=${1:-$here/../../target/release/zimaged}
folder=${2:-${TMPDIR:-/tmp}/zimaged-gpu-check}

if ! nvidia-smi --query-gpu=name,memory.total,memory.free --format=csv,noheader; then
  echo "no NVIDIA card here: this check needs one" >&2
  exit 69
fi
if ! "$zimaged" --version; then
  echo "$zimaged does not run: build it with cargo build --release --features cuda" >&2
  exit 69
fi
mkdir -p "$folder"
python3 "$here/random_model.py" "$folder/model" "$here/../../models/mini/tokenizer"
python3 "$here/check.py" "$zimaged" "$folder"
