#!/usr/bin/env bash
# Tests what is built only with an MPI: `rain-engine` without mpirun, and the transport over MPI under mpirun, with the MPI
# library of `mpicc`, and with MPICH if that is another one. Says so in a line where there is none. `--has-libclang` only finds
# out whether libclang is there, which the build needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

has() { command -v "$1" >/dev/null 2>&1; }

has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return
    local pattern
    for pattern in '/usr/lib/llvm-*/lib' '/usr/lib/*-linux-gnu' /usr/lib64 /usr/local/lib; do
        compgen -G "$pattern/libclang.so*" >/dev/null && return
        compgen -G "$pattern/libclang-[0-9]*.so*" >/dev/null && return
    done
    return 1
}

if [ "${1:-}" = --has-libclang ]; then
    has_libclang
    exit
fi

missing=()
has "${MPICC:-mpicc}" && has "${MPIRUN:-mpirun}" || missing+=(libopenmpi-dev openmpi-bin)
has_libclang || missing+=(libclang-dev)
if [ ${#missing[@]} != 0 ] || [ "${RAIN_MPI:-}" = no ]; then
    echo "test-mpi: skipped; it needs MPI and libclang, in Debian: apt-get install libopenmpi-dev openmpi-bin libclang-dev"
    # As conftest.py has it: who leaves MPI out on purpose knows it.
    [ -z "${RAIN_SKIPS_ARE_ERRORS:-}" ] || [ "${RAIN_MPI:-}" = no ]
    exit
fi

run() { # CARGO-ARGUMENTS...
    # One job at a time: each has more ranks than there may be cpus.
    cargo test --locked --quiet -p rain-transport-mpi --features mpi "$@" -- --test-threads=1
}

cargo clippy --locked -p rain-transport-mpi -p rain --features rain-transport-mpi/mpi,rain/mpi --all-targets -- -D warnings
cargo test --locked --quiet -p rain --features mpi --lib
run
# Cargo does not notice that MPICC has changed, so each library has a target directory.
if [ -z "${MPICC:-}" ] && has mpicc.mpich && has mpirun.mpich; then
    if [ "$(readlink -f "$(command -v mpicc.mpich)")" != "$(readlink -f "$(command -v mpicc)")" ]; then
        MPICC=mpicc.mpich MPIRUN=mpirun.mpich run --target-dir target/mpich
    fi
else
    echo "test-mpi: not tested with MPICH, in Debian: apt-get install libmpich-dev mpich"
    [ -z "${RAIN_SKIPS_ARE_ERRORS:-}" ] || [ -n "${MPICC:-}" ]
fi
