#!/usr/bin/env bash
# Installs what compiling and linking the `cuda` feature needs on a machine without a card: the CUDA 13 compiler, headers
# and libraries, from NVIDIA's Python wheels, and a driver's library that knows no device.
#
#     tools/gpu/cuda-toolkit.sh DIR    # 1.5 GB; nothing is done where DIR has it already
#     . DIR/env.sh                     # then: cargo build --features cuda
#
# Needs Python 3 with pip, and gcc. A program that was linked like this runs wherever a real driver and CUDA 13 are.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

mkdir -p "${1:?usage: cuda-toolkit.sh DIR}"
dir=$(cd "$1" && pwd)
home=$dir/cuda

install_wheels() {
  python3 -m venv "$dir/venv"
  "$dir/venv/bin/pip" install --quiet --no-input --requirement "$here/cuda-requirements.txt"
}

# The folders of a usual CUDA installation, made of links into the wheels'.
lay_out() {
  local wheels library name
  wheels=$(echo "$dir"/venv/lib/python3*/site-packages/nvidia/cu13)
  mkdir -p "$home/lib64" "$home/driver" "$home/wrapped"
  ln -sfn "$wheels/bin" "$home/bin"
  ln -sfn "$wheels/include" "$home/include"
  ln -sfn "$wheels/nvvm" "$home/nvvm"
  ln -sfn lib64 "$home/lib"
  for library in "$wheels"/lib/lib*.so.*; do
    name=$(basename "$library")
    ln -sf "$library" "$home/lib64/$name"
    # The linker looks for libcublas.so, the wheels have libcublas.so.13 alone.
    ln -sf "$library" "$home/lib64/${name%%.so.*}.so"
  done
}

# A libcuda in which every call that cuda.h names answers that there is no device.
make_driver() {
  local no_device=100
  grep -ohE '\bcu[A-Z][A-Za-z0-9]*(_v[0-9]+)?(_ptsz|_ptds)?\b' "$home/include/cuda.h" | sort -u |
    sed "s/.*/int &(void) { return $no_device; }/" > "$dir/driver.c"
  gcc -shared -fPIC -w -Wl,-soname,libcuda.so.1 -o "$home/driver/libcuda.so.1" "$dir/driver.c"
  ln -sf ../driver/libcuda.so.1 "$home/lib64/libcuda.so"
}

# cudaforge takes $NVCC first, and looks for the headers two folders above it.
write_env() {
  ln -sf "$here/nvcc-without-unused.sh" "$home/wrapped/nvcc"
  cat > "$dir/env.sh" <<ENV
export CUDA_HOME=$home CUDA_PATH=$home CUDA_ROOT=$home
export NVCC=$home/wrapped/nvcc PATH=$home/bin:\$PATH
export LIBRARY_PATH=$home/lib64\${LIBRARY_PATH:+:\$LIBRARY_PATH}
export LD_LIBRARY_PATH=$home/lib64:$home/driver\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
export CUDA_COMPUTE_CAP=\${CUDA_COMPUTE_CAP:-80} CUDARC_CUDA_VERSION=13000
ENV
}

if [ ! -f "$dir/ready" ]; then
  install_wheels
  lay_out
  make_driver
  "$home/bin/nvcc" --version | tail -1
  touch "$dir/ready"
fi
write_env
echo "CUDA toolkit ready: . $dir/env.sh"
