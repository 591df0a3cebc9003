#!/usr/bin/env bash
# Builds target/release/rain-engine, which needs an MPI, and libclang to read MPI's headers. Where they are not there, it is
# left out, and one line says what to install.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${RAIN_MPI:-}" = no ] || ! command -v "${MPICC:-mpicc}" >/dev/null || ! scripts/test-mpi.sh --has-libclang; then
    echo "rain-engine is left out; it needs MPI and libclang, in Debian: apt-get install libopenmpi-dev openmpi-bin libclang-dev"
    exit 0
fi
cargo build --release --locked --package rain --features mpi --bin rain-engine
if [ -d .venv/bin ]; then
    ln -sfn ../../target/release/rain-engine .venv/bin/rain-engine
fi
