"""What all tests in Python have: skips are shown, and are errors where RAIN_SKIPS_ARE_ERRORS is set, as in `.ci/run`.

A test that is skipped proves nothing, and nobody sees it in a run that is green. So each skip that may be in such a run
is listed here, with the reason.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from typing import Any

import pytest

# What the skip says, and why it may be.
ALLOWED = {
    r"There is no docker daemon": "machines of CI are containers themselves; the form of the Dockerfile is checked",
    r"No netem in this kernel|No tbf in this kernel": "containers have the kernel of their host",
    r"No network namespaces here": "a container may forbid them",
    r"no mount namespace can be made here": "a container may forbid them",
    r"There is only one cpu": "two ranks on cpus of their own take two cpus",
    **({} if os.geteuid() == 0 else {r"takes root": "whoever runs the tests may not be root"}),
    r"the number of workers is the server's|it makes an executor of the standard library": "tests of other executors",
    r"this Python has no test\.test_concurrent_futures": "Debian's Python, and pyenv's without it, leave out the tests",
}


def not_allowed(why: str) -> bool:
    return "RAIN_SKIPS_ARE_ERRORS" in os.environ and not any(re.search(allowed, why) for allowed in ALLOWED)


def _judge(report: Any) -> None:
    """Make an error of a skip that is not listed."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not_allowed(why):
        report.outcome = "failed"
        report.longrepr = f"{why}: with RAIN_SKIPS_ARE_ERRORS only skips that {__file__} lists may be"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, None]:
    outcome = yield
    _judge(outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, None]:
    outcome = yield
    _judge(outcome.get_result())
