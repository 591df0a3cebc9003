#!/usr/bin/env bash
# Builds target/release/rain-engine, which needs an MPI, and libclang to read MPI's headers. Where they are not there, it is
# left out, and one line says what to install.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || ldconfig -p 2>/dev/null | grep -q 'libclang[-.0-9]*\.so' ||
        compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null
}

missing=()
command -v mpicc >/dev/null || missing+=("an MPI with its headers (libopenmpi-dev openmpi-bin)")
has_libclang || missing+=("libclang (libclang-dev)")
if [ ${#missing[@]} != 0 ]; then
    text=$(printf ' and %s' "${missing[@]}")
    echo "rain-engine, which runs under mpirun, is left out: install ${text# and}, then build again"
    exit 0
fi
cargo build --release --locked --package rain --features mpi --bin rain-engine
if [ -d .venv/bin ]; then
    ln -sfn ../../target/release/rain-engine .venv/bin/rain-engine
fi
