"""Runs the measurements, prints a table and writes target/bench/latest.json.

    python bench/run.py [--quick | --smoke] [--json FILE] [NAME...]

NAME is one of the files beside this one: engine_alone, server_scale, built_in_tasks, remote_calls, futures,
programs, large_data, spilling, start_and_idle, tcp, mpi. Nothing is judged: a missed bound is marked in the table and
changes no exit code.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

import built_in_tasks
import engine_alone
import futures
import large_data
import mpi
import own_executors
import programs
import remote_calls
import server_scale
import spilling
import start_and_idle
import tcp
from measure import RAIN, RAIN_BENCH, TOP, Row, Size

MEASUREMENTS = {
    module.__name__: module.measure
    for module in (
        engine_alone,
        server_scale,
        built_in_tasks,
        remote_calls,
        futures,
        own_executors,
        programs,
        large_data,
        spilling,
        start_and_idle,
        tcp,
        mpi,
    )
}


def digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def line(row: Row) -> str:
    """A row of the table: name, median, bound, and the runs' range."""
    bound = "" if row.wanted is None else f"≤ {digits(row.wanted)}"
    verdict = "" if row.wanted is None else ("ok" if row.value <= row.wanted else "missed")
    spread = f"{digits(min(row.runs))} – {digits(max(row.runs))}"
    return f"{row.name:<56} {digits(row.value):>9} {row.unit:<11} {bound:>7}  {verdict:<7} {spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description="measure Rain on this machine")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(MEASUREMENTS)}")
    parser.add_argument("--quick", action="store_true", help="three runs, a tenth of the tasks")
    parser.add_argument("--smoke", action="store_true", help="one run of next to nothing: does it work at all?")
    parser.add_argument("--json", type=Path, default=TOP / "target" / "bench" / "latest.json", metavar="FILE")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in MEASUREMENTS:
            parser.error(f"{name}: no such measurement; there are {', '.join(MEASUREMENTS)}")
    for program in (RAIN, RAIN_BENCH):
        if not program.exists():
            sys.exit(f"{program} is missing: run `make build-bench`")

    size = Size(runs=1, share=0.001) if arguments.smoke else Size(3, 0.1) if arguments.quick else Size()
    rows: list[Row] = []
    print(f"{os.cpu_count()} cpus, {size.runs} runs each, medians")
    print(f"{'':<56} {'median':>9} {'':<11} {'wanted':>7}  {'':<7} all runs", flush=True)
    for name in arguments.names or MEASUREMENTS:
        for found in MEASUREMENTS[name](size):
            rows.append(found)
            print(line(found), flush=True)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps([dataclasses.asdict(found) for found in rows], indent=1) + "\n")
    print(f"written: {arguments.json}")


if __name__ == "__main__":
    main()
