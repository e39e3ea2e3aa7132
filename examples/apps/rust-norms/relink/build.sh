#!/bin/sh
# relink/build.sh [LIBRARY]: links libnorms.a (cargo build --release makes it) with the CUDA part, built by nvcc here.
# -s leaves out the names of nvcc's temporary files: the same source gives the same program, byte by byte.
set -e
cd "$(dirname "$0")/.."
exec "${NVCC:-nvcc}" -O2 -arch="${CUDA_ARCH:-native}" -Xlinker -s -o rust-norms cuda/norms.cu relink/main.c "${1:-libnorms.a}" -lpthread -ldl
