#!/usr/bin/env bash
# What a card does with the full-size model, as the tables of docs/gpu.md: whether its pictures are right, times at each
# size, also in int8, cards whose memory is taken away, the kernels of a step and of a decode, and diffusers beside it. Needs an NVIDIA
# card, 22 GB of disk, Python 3, and a binary built with
#
#     cargo build --release --features cuda
#
#     tools/gpu/check.sh [ZIMAGED] [FOLDER] [parity] [times] [int8] [small] [profile] [torch]
#
# Under 8 minutes, or less for the parts that are named; the weights in FOLDER are kept for the next time, and the tables
# are in FOLDER/tables.md. The profile needs gcc and CUDA's toolkit, the last part torch and diffusers; they are left out
# where there is none.
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
python3 "$here/check" "$zimaged" "$folder" "${@:3}" | tee "$folder/tables.md"
