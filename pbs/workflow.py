"""A small workflow for the job scripts beside it: counts primes on all governors, and checks the sum.

The address of the server is taken from RAIN_SERVER (HOST:PORT). With `--governors=N` it waits until N governors are in:
a session runs on those that are there when it is submitted first.
"""

import argparse
import os
import socket
import sys
import time

from rain.client import Client, remote

# How many primes are below the limit is known, so the result can be checked.
LIMIT, PRIMES = 300_000, 25_997
TASKS = 120


@remote()
def count_primes(ctx, start, stop):
    """How many numbers from start to stop (exclusive) are primes, and the host where they were counted."""
    count = sum(1 for number in range(max(start, 2), stop) if all(number % d for d in range(2, int(number**0.5) + 1)))
    return f"{count} {socket.gethostname()}"


def wait_for_governors(client, count, seconds):
    """Wait until so many governors are in, or so many seconds are over."""
    deadline = time.monotonic() + seconds
    while (there := len(client.status()["governors"])) < count:
        if time.monotonic() > deadline:
            print(f"only {there} of {count} governors after {seconds:g} s; going on with them", file=sys.stderr)
            return
        time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--governors", type=int, default=1, metavar="N", help="wait until so many are in [default: 1]")
    parser.add_argument("--wait", type=float, default=300, metavar="SECONDS", help="but no longer [default: 300]")
    options = parser.parse_args()

    host, port = os.environ.get("RAIN_SERVER", "localhost:7210").rsplit(":", 1)
    with Client(host, int(port)) as client:
        wait_for_governors(client, options.governors, options.wait)
        with client.new_session("primes") as session:
            bounds = [LIMIT * part // TASKS for part in range(TASKS + 1)]
            parts = [count_primes(start, stop) for start, stop in zip(bounds, bounds[1:])]
            for part in parts:
                part.output.keep()
            session.submit()
            results = [part.output.fetch().get_str().split() for part in parts]

    total = sum(int(count) for count, _ in results)
    hosts = sorted({host for _, host in results})
    print(f"{total} primes below {LIMIT}, counted by {len(parts)} tasks on {len(hosts)} hosts: {' '.join(hosts)}")
    if total != PRIMES:
        sys.exit(f"that is wrong: there are {PRIMES}")


if __name__ == "__main__":
    main()
