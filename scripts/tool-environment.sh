# shellcheck shell=bash
# Sourced by scripts that need Python tools which neither Rain nor its tests use.

# Makes a virtual environment with what a file of requirements lists, unless it is there.
make_environment() { # DIRECTORY REQUIREMENTS
    local wanted
    wanted="$PWD $(cksum "$2")"
    [ "$(cat "$1/stamp" 2>/dev/null || true)" != "$wanted" ] || return 0
    rm -rf "$1"
    "${PYTHON:-python3}" -m venv "$1"
    "$1/bin/pip" --disable-pip-version-check --quiet --no-input install -r "$2" </dev/null
    echo "$wanted" >"$1/stamp"
}
