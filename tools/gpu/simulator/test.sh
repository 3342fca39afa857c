#!/usr/bin/env bash
# Runs the tests that need a card, on the simulated one: test.sh TOOLKIT [DIR]
#
# TOOLKIT is what tools/gpu/cuda-toolkit.sh installed; DIR, for the simulated card, is else target/simulator.
set -euo pipefail
project=$(cd "$(dirname "$0")/../../.." && pwd)
toolkit=$(cd "$1" && pwd)
dir=${2:-$project/target/simulator}
cd "$project"

. "$toolkit/env.sh"
tools/gpu/simulator/build.sh "$dir" "$toolkit/cuda"
cargo test --locked --features cuda --no-run
export LD_LIBRARY_PATH=$dir

skip=()
if [ ! -d "${ZIMAGED_REFERENCE:-../shared/reference}/model" ]; then
  echo "left out: the card beside the reference model, which is not here (tools/reference makes it)"
  skip=(--skip reference)
fi
tests() { cargo test --locked --features cuda "$@" -- --ignored "${skip[@]}"; }

cargo test --locked --features cuda --lib z_image::ops::cuda
tests --lib operators_on_a_card
# What goes through page-locked buffers, also where a copy is done no sooner than somebody waits for it.
for order in eager lazy copies-first copies-last; do SIM_ORDER=$order tests --lib z_image::cuda::staging; done
# A kernel's copies to its block's memory no sooner than they are waited for; and the kernels of compute capability 9.0.
SIM_ORDER=lazy RUST_TEST_THREADS=1 tests --lib ops::cuda::attention
SIM_ORDER=lazy RUST_TEST_THREADS=1 tests --lib ops::cuda::int8
for order in eager lazy; do
  SIM_CAPABILITY=90 SIM_ORDER=$order RUST_TEST_THREADS=1 tests --lib ops::cuda::attention
done
convolutions() { ZIMAGED_CARD=1 RUST_TEST_THREADS=1 cargo test --locked --features cuda --lib ops::conv; }
SIM_ORDER=lazy convolutions
for order in eager lazy; do SIM_CAPABILITY=90 SIM_ORDER=$order convolutions; done
# Only the bytes count there.
SIM_DRY=1 tests --test memory card::
tests --test it card::
tests --test it card_libraries::
# Where the driver locks its own memory alone.
for registers in 0 1; do SIM_REGISTERS=$registers tests --lib z_image::cuda::pinned; done
# The streaming's events, under the orders that a card may take without them: with room for one of the miniature's layers,
# where the others are read in each step; where the driver locks its own memory alone; and as it is.
same_picture() { tests --test it card::a_card_makes_the_same_picture; }
SIM_ORDER=lazy SIM_PINNED_BYTES=2000000 same_picture
SIM_ORDER=copies-first SIM_REGISTERS=0 same_picture
SIM_ORDER=copies-last same_picture
