"""The short form of ``make soak``."""

from __future__ import annotations

import pytest
from soak import soak


@pytest.mark.parametrize("cluster", [False, True], ids=["in one process", "over TCP"])
def test_calls_of_one_session_leave_nothing_behind(cluster: bool) -> None:
    assert soak(6000, cluster, passing=False) == []
