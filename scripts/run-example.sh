#!/usr/bin/env bash
# Starts Rain on this machine, runs an example, and stops Rain, whatever happens.
#
# RAIN_PORT (default 7210) is where it listens; EXAMPLE (default examples/cross_validation.py) is what runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rain=.venv/bin/rain
port=${RAIN_PORT:-7210}
example=${EXAMPLE:-examples/cross_validation.py}

if ! "$rain" start --simple --listen="127.0.0.1:$port"; then
    echo >&2
    echo "make run: Rain could not be started on port $port (see above)." >&2
    echo "If something else listens there, take another port: make run RAIN_PORT=7310" >&2
    exit 1
fi
trap '"$rain" stop --listen="127.0.0.1:$port"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo
echo "$example:"
RAIN_SERVER="127.0.0.1:$port" .venv/bin/python "$example" </dev/null
echo
