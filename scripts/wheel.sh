#!/usr/bin/env bash
# Builds target/wheels/rain-*.whl, with the program inside, for machines with an older C library than this one, and checks
# with auditwheel that it needs nothing else.
#
# RAIN_WHEEL_PLATFORM (default manylinux_2_31) is the C library that the wheel is for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

platform=${RAIN_WHEEL_PLATFORM:-manylinux_2_31}
tools=target/wheel-tools
wheels=target/wheels
. scripts/tool-environment.sh
make_environment "$tools" scripts/wheel-requirements.txt

# maturin finds zig through the python in PATH.
export PATH=$PWD/$tools/bin:$PATH
rm -rf "$wheels"
# The release profile's own directory: features and linker differ from those of `make build`.
maturin build --release --zig --compatibility "$platform" --auditwheel check --out "$wheels" --target-dir target/wheel
for wheel in "$wheels"/*.whl; do
    auditwheel show "$wheel"
    # What auditwheel finds in the program, not what the file's name says.
    if ! auditwheel show --json "$wheel" | python3 -c '
import json, re, sys
wanted, found = (tuple(map(int, re.search(r"manylinux_(\d+)_(\d+)", text).groups()))
                 for text in (sys.argv[1], json.load(sys.stdin)["overall_tag"]))
sys.exit(found > wanted)
' "$platform"; then
        echo "wheel: $wheel does not run where $platform wheels have to" >&2
        exit 1
    fi
done
