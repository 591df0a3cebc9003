#!/bin/sh
# Builds the C++ tasklib with sanitizers and runs its tests. All that is made is in target/cpp.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
build=${CPP_BUILD_DIR:-$here/../target/cpp}
cmake -S "$here" -B "$build" -D CMAKE_BUILD_TYPE=Debug -D TASKLIB_SANITIZE=ON > /dev/null
cmake --build "$build" --parallel
ctest --test-dir "$build" --output-on-failure "$@"
