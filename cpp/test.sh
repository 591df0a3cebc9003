#!/bin/sh
# Builds the C++ tasklib with sanitizers, runs its tests and feeds its readers damaged input (fuzz.sh). All that is made is in
# target/cpp and target/cpp-fuzz. Arguments are for ctest; then only that is run.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
build=${CPP_BUILD_DIR:-$here/../target/cpp}
cmake -S "$here" -B "$build" -D CMAKE_BUILD_TYPE=Debug -D TASKLIB_SANITIZE=ON > /dev/null
cmake --build "$build" --parallel
ctest --test-dir "$build" --output-on-failure "$@"
[ $# -gt 0 ] || "$here/fuzz.sh"
