"""Interrupts code at each byte code: a KeyboardInterrupt as by a Ctrl-C, at the n-th one inside of the package."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Callable, TypeVar

import rain

T = TypeVar("T")

PACKAGE = str(Path(rain.__file__).parent)


class Interrupter:
    """Counts the byte codes of the package that a function runs in this thread, and interrupts it at one of them."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0
        # Where it was interrupted.
        self.place = ""

    def run(self, function: Callable[[], object]) -> bool:
        """Call the function; whether it was interrupted."""
        before = sys.gettrace()
        # Since 3.12, byte codes are traced only if a frame has asked for it before.
        sys._getframe().f_trace_opcodes = True
        sys.settrace(self._trace)
        try:
            function()
        except KeyboardInterrupt:
            assert self.place, "interrupted by somebody else"
            return True
        finally:
            sys.settrace(before)
        assert not self.place, f"the interrupt at {self.place} was swallowed"
        return False

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        caller: FrameType | None = frame
        while caller is not None:
            # From there, nobody would get the interrupt.
            if caller.f_code.co_name == "__del__":
                return None
            caller = caller.f_back
        frame.f_trace_opcodes = True
        return self._trace_inside

    def _trace_inside(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self.count += 1
            if self.count == self.at:
                self.place = f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name}, {frame.f_lasti})"
                raise KeyboardInterrupt
        return self._trace_inside


def everywhere(prepare: Callable[[], Callable[[], object]], step: int = 1) -> Iterator[Interrupter]:
    """Interrupt what `prepare` makes ready at each byte code, or at each `step`-th, until none is left.

    Each time, the caller gets control after the interrupt. With RAIN_STRESS_INTERRUPTS in the environment, it is each
    byte code for all tests.
    """
    if os.environ.get("RAIN_STRESS_INTERRUPTS"):
        step = 1
    at = 1
    # The first time that a function is traced, some Pythons tell of no byte codes.
    Interrupter(sys.maxsize).run(prepare())
    while True:
        function = prepare()
        interrupter = Interrupter(at)
        interrupted = interrupter.run(function)
        assert gc.isenabled(), interrupter.place
        if not interrupted:
            break
        yield interrupter
        at += step
    assert at > step, "Nothing was interrupted: is the package traced?"


_other_thread = concurrent.futures.ThreadPoolExecutor(1)


def in_thread(function: Callable[[], T], seconds: float = 30) -> T:
    """What a function returns in another thread, which finds out whether something is locked."""
    return _other_thread.submit(function).result(seconds)
