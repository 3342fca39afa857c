#!/usr/bin/env bash
# Builds the simulated card's libraries into DIR, with the headers of the CUDA toolkit in TOOLKIT: build.sh DIR TOOLKIT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../../.." && pwd)
mkdir -p "$1/objects"
dir=$(cd "$1" && pwd)
toolkit=$(cd "$2" && pwd)

candle=$(cargo metadata --locked --format-version 1 --features cuda --manifest-path "$project/Cargo.toml" | python3 -c '
import json, os, sys
packages = json.load(sys.stdin)["packages"]
print(next(os.path.dirname(p["manifest_path"]) for p in packages if p["name"] == "candle-kernels"))')/src

flags=(-std=c++17 -O2 -fno-strict-aliasing -fPIC -fopenmp -fvisibility=hidden -w -I"$here/include" -I"$here")

# What is linked: no object of a source that is gone.
objects=()

# kernels SOURCE NAME
kernels() {
  local object input newer=
  object=$dir/objects/$2
  objects+=("$object.o")
  for input in "$1" "$(dirname "$1")"/*.cuh "$here"/include/*.h "$here/kernels.py"; do
    [ "$object.o" -nt "$input" ] || newer=$input
  done
  [ -n "$newer" ] || return 0
  g++ "${flags[@]}" -D__global__=__kernel__ -I"$candle" -include device.h -x c++ -E -P "$1" \
    | python3 "$here/kernels.py" > "$object.cpp"
  g++ "${flags[@]}" -c "$object.cpp" -o "$object.o"
}
for name in affine binary cast conv fill indexing quantized reduce ternary unary; do kernels "$candle/$name.cu" "candle-$name"; done
for source in "$project"/src/engine/z_image/ops/cuda/*.cu; do kernels "$source" "$(basename "$source" .cu)"; done

for name in threads driver blas; do
  g++ "${flags[@]}" -fvisibility=default -I"$toolkit/include" -c "$here/$name.cpp" -o "$dir/objects/$name.o"
  objects+=("$dir/objects/$name.o")
done
# candle's sources define some helpers under one name in each; all the same.
g++ -shared -fopenmp -Wl,-soname,libcuda.so.1 -Wl,-Bsymbolic -Wl,-z,muldefs -o "$dir/libcuda.so.1" "${objects[@]}"
for name in libcublas.so.13 libcurand.so.10; do ln -sf libcuda.so.1 "$dir/$name"; done
ln -sf "$toolkit"/lib64/libcudart.so.13 "$dir/"
