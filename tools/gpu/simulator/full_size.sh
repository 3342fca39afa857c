#!/usr/bin/env bash
# What the full-size model needs of cards of many sizes, on the simulated one, where only bytes count: full_size.sh TOOLKIT [DIR]
#
# After test.sh TOOLKIT [DIR]. A row for each card: rung, predicted and measured peak of the pool.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../../.." && pwd)
toolkit=$(cd "$1" && pwd)
dir=${2:-$project/target/simulator}

. "$toolkit/env.sh"
(cd "$project" && cargo build --locked --features cuda)
export LD_LIBRARY_PATH=$dir
python3 "$here/../random_model.py" "$dir/model" "$project/models/mini/tokenizer" --zeros
python3 "$here/full_size.py" "${CARGO_TARGET_DIR:-$project/target}/debug/zimaged" "$dir"
