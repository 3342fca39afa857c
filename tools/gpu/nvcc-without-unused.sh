#!/usr/bin/env bash
# nvcc, except for the sources of candle that this program never calls: quantised matrix products and mixtures of experts.
# Most of a CUDA build's time is theirs. Each becomes an empty object here. The linker proves that this is right: it drops
# what cannot be reached, and fails with the missing function's name should the program ever come to call one.
set -euo pipefail
source=${!#}
case $source in
  src/moe/*.cu | src/mmvq_gguf.cu | src/mmq_gguf/*.cu) ;;
  *) exec "$CUDA_HOME/bin/nvcc" "$@" ;;
esac
while [ "$1" != -o ]; do shift; done
gcc -x c -c /dev/null -o "$2"
