#!/usr/bin/env bash
# Makes sure that everything is there that building, running and testing Rain needs: programs and libraries (Debian
# packages), and the virtual environment .venv. Done in milliseconds when all of it is there.
#
# PYTHON=/path/to/python3 chooses the interpreter of a new .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
requirements=scripts/requirements.txt
packages=()
reasons=()
# For parts that are left out where their packages are missing; only installed where that asks nobody for anything.
optional=()

need() { # PACKAGE REASON
    packages+=("$1")
    reasons+=("$1: $2")
}

may_use() { # PACKAGE...
    optional+=("$@")
}

has() { command -v "$1" >/dev/null 2>&1; }

python_is_fit() { # PYTHON
    "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 9))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" /usr/bin/python3 python3.13 python3.12 python3.11 python3.10 python3.9; do
        if has "$candidate" && python_is_fit "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# What identifies a finished .venv: its place (the environment names it) and all that was installed into it.
wanted_stamp() {
    echo "$PWD"
    cksum "$requirements"
}

check_system() {
    has cc || need gcc "the C compiler that Rust links with"
    has pkg-config || need pkg-config "finds the hwloc library"
    if ! has pkg-config || ! pkg-config --exists hwloc; then
        need libhwloc-dev "the hwloc library: cpus of this machine, pinning"
    fi
    has svm-train && has svm-predict || need libsvm-tools "svm-train and svm-predict for examples/cross_validation.py"
    has g++ || need g++ "the C++ compiler for the library of C++ tasks"
    has cmake || need cmake "builds the library of C++ tasks"
    if ! [ -x /usr/sbin/sshd ] || ! has ssh || ! has ssh-keygen; then
        need openssh-client "ssh, which starts governors on other machines"
        need openssh-server "sshd, for the tests of that"
    fi
    # The transport over MPI (`make test-mpi`); MPICH is only tested with. RAIN_MPI=no leaves it out.
    if [ "${RAIN_MPI:-}" != no ]; then
        has mpicc && has mpirun || may_use libopenmpi-dev openmpi-bin
        has mpicc.mpich && has mpirun.mpich || may_use libmpich-dev mpich
        scripts/test-mpi.sh --has-libclang || may_use libclang-dev
    fi
    # libFuzzer for `make fuzz-cpp`, which has simpler means without it. RAIN_CLANG=no leaves it out.
    [ "${RAIN_CLANG:-}" = no ] || has clang++ || may_use clang libclang-rt-dev
    has xargs || need findutils "xargs, which the benchmarks compare with"
    if [ ! -x "$venv/bin/python" ] && ! find_python >/dev/null; then
        need python3 "Python 3.9 or newer"
        need python3-venv "makes virtual environments"
    fi
}

# How packages can be installed without asking anybody: sets as_root.
can_install() {
    as_root=()
    has apt-get || return
    [ "$(id -u)" = 0 ] && return
    as_root=(sudo -n)
    has sudo && sudo -n true 2>/dev/null
}

apt_install() { # PACKAGE...; after can_install
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
    local log status=0
    log=$(mktemp)
    if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        status=1
    fi
    rm -f "$log"
    return "$status"
}

install_system() {
    if ! has apt-get; then
        echo "Rain needs these programs and libraries, named here as Debian's packages; please install them:" >&2
        printf '    %s\n' "${reasons[@]}" >&2
        exit 1
    fi
    if ! can_install; then
        echo "Rain needs these Debian packages:" >&2
        printf '    %s\n' "${reasons[@]}" >&2
        echo "Only root can install them. Run this, then try again:" >&2
        echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages[*]} ${optional[*]}" >&2
        exit 1
    fi
    echo "setup: installing Debian packages:"
    printf '    %s\n' "${reasons[@]}"
    if ! apt_install "${packages[@]}"; then
        echo "setup: apt-get failed, see above" >&2
        exit 1
    fi
}

install_optional() {
    # If we cannot install them, the steps that need them print what is missing.
    can_install || return 0
    echo "setup: installing optional Debian packages (the transport over MPI, fuzzing): ${optional[*]}"
    apt_install "${optional[@]}" ||
        echo "setup: that failed; going on without them (RAIN_MPI=no and RAIN_CLANG=no do not try)" >&2
}

check_rust() {
    has cargo && return
    echo "Rain is written in Rust; cargo was not found. Install a toolchain (1.88 or newer) from https://rustup.rs" >&2
    echo "and make sure that cargo is in PATH." >&2
    exit 1
}

make_venv() {
    if [ ! -x "$venv/bin/python" ] || ! python_is_fit "$venv/bin/python"; then
        local python
        if ! python=$(find_python); then
            echo "setup: no Python >= 3.9 with the venv module; set PYTHON=/path/to/python3" >&2
            exit 1
        fi
        echo "setup: making $venv with $("$python" --version) ($python)"
        rm -rf "$venv"
        "$python" -m venv "$venv"
    fi
    echo "setup: installing into $venv what $requirements lists, and making the package in python/ known there"
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-input)
    "${pip[@]}" -r "$requirements" </dev/null
    # A line in a .pth file finds the package without the cost that the import hook of an editable install has.
    local packages
    packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo "$PWD/python" >"$packages/rain-development.pth"
    ln -sfn ../../target/release/rain "$venv/bin/rain"
    wanted_stamp >"$venv/rain.stamp"
}

check_system
[ ${#packages[@]} = 0 ] || install_system
[ ${#optional[@]} = 0 ] || install_optional
check_rust
if [ ! -x "$venv/bin/python" ] || [ "$(cat "$venv/rain.stamp" 2>/dev/null || true)" != "$(wanted_stamp)" ]; then
    make_venv
fi
