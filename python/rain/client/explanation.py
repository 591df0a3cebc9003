"""Why a task does not run, or where it does."""

from __future__ import annotations

import time
from typing import Any, NamedTuple


class Explanation(NamedTuple):
    """What becomes of a task, as the server sees it. As a text it is a few sentences.

    Attributes:
        state: ``waiting`` for inputs, ``ready``, ``running``, ``finished`` or ``cancelled``.
        why: A sentence.
        governor: The number of the governor that has the task or has run it.
        since: Since when it runs, or waits for resources, seconds since 1970, as far as that is known.
        place: How many tasks of its session are before it, of those that wait for resources.
        missing: Inputs that are not there, the first of them, each with ``object``, ``state`` and, where that is known,
            ``task``, which makes it, and ``governor``, which has that.
        lacks: Resources of which there is not enough, each with ``governor``, ``name``, ``wanted``, ``free``, ``total``
            and ``holders``, the tasks that have it.
        has: What it was given beside cpus, by name.
    """

    state: str
    why: str
    governor: int | None
    since: float | None
    place: int | None
    missing: list[dict[str, Any]]
    lacks: list[dict[str, Any]]
    has: dict[str, float]

    @staticmethod
    def of(told: dict[str, Any]) -> Explanation:
        """What the server has told."""
        since = told.get("start_time")
        if "waited" in told:
            since = time.time() - told["waited"]
        return Explanation(
            told["state"],
            told["why"],
            told.get("governor"),
            since,
            told.get("place"),
            told.get("missing", []),
            told.get("lacks", []),
            dict(told.get("has", ())),
        )

    def __str__(self) -> str:
        text = self.why
        if self.since is not None and self.state in ("ready", "running"):
            text += f", for {max(time.time() - self.since, 0):.1f} s"
        if self.has:
            text += "; it has " + ", ".join(f"{amount:g} {name}" for name, amount in self.has.items())
        return text
