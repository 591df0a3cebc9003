#!/usr/bin/env bash
# Runs the tests of the Python package with several interpreters: the unit tests, and the futures, the guide's Python
# section and the typed script against a real server.
#
#     RAIN_PYTHONS="/usr/bin/python3.9 python3.13" python/tests/all_pythons.sh [pytest arguments]
#
# RAIN_PYTHONS lists the interpreters; "ends" (the default) are the oldest and the newest of python3.9 to python3.13 that are there,
# pyenv's too, and "all" are all of them. RAIN_BIN is the program (default: target/release/rain). Each interpreter gets an
# environment in target/pythons, which is kept, with the packages that scripts/requirements.txt pins.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
environments=${CARGO_TARGET_DIR:-$root/target}/pythons
export RAIN_BIN=${RAIN_BIN:-$root/target/release/rain}
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$root/python

interpreters() {
    case "${RAIN_PYTHONS:-ends}" in
        all) found_interpreters ;;
        ends) found_interpreters | sed -n '1p;$p' | uniq ;;
        *) tr ' ' '\n' <<<"$RAIN_PYTHONS" ;;
    esac
}

found_interpreters() {
    local minor candidate
    for minor in 9 10 11 12 13; do
        for candidate in "$(command -v "python3.$minor" || true)" "$HOME/.pyenv/versions/3.$minor".*/bin/python; do
            if [ -x "$candidate" ] && "$candidate" -c "import sys; sys.exit(sys.version_info[1] != $minor)" 2>/dev/null; then
                echo "$candidate"
                break
            fi
        done
    done
}

tests=("$here/unit" "$here/server/test_futures.py" "$here/server/test_remote.py" "$here/server/test_private.py"
    "$here/guide/test_python.py" "$here/server/test_typing.py")
tested=0
for python in $(interpreters); do
    version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
    environment=$environments/$version
    echo "== Python $version ($python)"
    if [ ! -e "$environment/ready" ]; then
        rm -rf "$environment"
        "$python" -m venv "$environment"
        grep -E '^(msgspec|cloudpickle|pytest|pytest-xdist)=' "$root/scripts/requirements.txt" >"$environment/requirements.txt"
        "$environment/bin/pip" --disable-pip-version-check --quiet install -r "$environment/requirements.txt" </dev/null
        touch "$environment/ready"
    fi
    "$environment/bin/python" -m pytest -c "$root/pyproject.toml" --rootdir="$root" -p no:cacheprovider -n 2 "$@" "${tests[@]}"
    tested=$((tested + 1))
done
if [ "$tested" = 0 ]; then
    echo "all_pythons.sh: no interpreter of Python 3.9 to 3.13 was found; set RAIN_PYTHONS" >&2
    exit 1
fi
echo "all_pythons.sh: $tested interpreters passed"
