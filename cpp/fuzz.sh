#!/bin/sh
# Feeds damaged messages and JSON to the readers of the C++ tasklib, with sanitizers: with libFuzzer where there is a clang that
# has it, else with the compiler of the tests and random mutations. All that is made is in target/cpp-fuzz; inputs that
# were found to reach more of the code are kept there, and an input that shows a fault is kept at target/cpp-fuzz/TARGET-crash*.
#
# cpp/fuzz.sh [SECONDS]    for each of the targets; without, a fixed number of inputs that takes some seconds
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
build=${CPP_FUZZ_DIR:-$here/../target/cpp-fuzz}
clang=${CLANGXX:-clang++}
mkdir -p "$build"

# Whether $clang can link a fuzz target; Debian has the library in a package of its own.
has_libfuzzer() {
    command -v "$clang" >/dev/null 2>&1 || return 1
    echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char *, unsigned long) { return 0; }' >"$build/probe.cpp"
    "$clang" -fsanitize=fuzzer,address,undefined "$build/probe.cpp" -o "$build/probe" >/dev/null 2>&1
}

if has_libfuzzer; then
    driver=libfuzzer
    cmake -S "$here/fuzz" -B "$build/$driver" -D CMAKE_CXX_COMPILER="$clang" -D LIBFUZZER=ON >/dev/null
else
    driver=mutations
    cmake -S "$here/fuzz" -B "$build/$driver" >/dev/null
fi
cmake --build "$build/$driver" --parallel >/dev/null

messages=$build/seeds/messages
json=$build/seeds/json
rm -rf "$build/seeds"
mkdir -p "$messages" "$json" "$build/found/messages" "$build/found/json"
for frame in "$here"/../tests/golden/*.bin; do
    # Without the length in front.
    tail -c +5 "$frame" >"$messages/$(basename "$frame")"
done
printf '%s' '{"pixels": 12, "of": ["a", {}, null, true, false, -0.5e+3]}' >"$json/object"
printf '%s' '["\ud83d\ude00\n\\\"", 1.7976931348623157e308, 0e999, 10000000000000000000000]' >"$json/list"
printf '%s' '{"\ud800": 1e999, "ř": "€"}' >"$json/refused"

if [ $# -gt 0 ]; then
    bound="-max_total_time=$1 -runs=-1"
    seed=$(date +%s)
else
    # The time is a limit for slow machines; the runs are what ends it.
    bound="-max_total_time=120 -runs=100000"
    seed=1
fi
for target in messages json; do
    # Found inputs are kept between long runs, and used by short ones.
    # shellcheck disable=SC2086 # Two options.
    if ! "$build/$driver/${target}_fuzz" $bound -seed="$seed" -max_len=4096 -artifact_prefix="$build/$target-" \
        "$build/found/$target" "$build/seeds/$target" >"$build/$target.log" 2>&1; then
        cat "$build/$target.log" >&2
        exit 1
    fi
    echo "fuzz ($driver): $target: $(tail -n 1 "$build/$target.log")"
done
