"""What is said of functions and arguments that cannot be pickled."""

from __future__ import annotations

import functools
import sys
import threading
from typing import Any

import cloudpickle
import pytest

from rain.client import Client, RainException, Session, remote
from rain.client.plain import plain_function
from rain.common.errors import PickleException

# As functions of a script are: other processes do not find them.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def nothing() -> None:
    return None


LOCK = threading.Lock()
SETTINGS = {"deep": [1, {"lock": LOCK}]}


def uses_lock() -> Any:
    return LOCK


def calls_what_uses_settings() -> Any:
    return uses_settings()


def uses_settings() -> Any:
    return SETTINGS


class WithLock:
    def __init__(self) -> None:
        self.lock = LOCK

    def method(self) -> None:
        pass


@pytest.mark.parametrize(
    ("function", "where"),
    [
        (uses_lock, "the global variable 'LOCK' of uses_lock()"),
        (
            calls_what_uses_settings,
            "the global variable 'SETTINGS' of uses_settings(), at ['deep'][1]['lock']",
        ),
        ((lambda lock: lambda: lock)(LOCK), "the variable 'lock' around <lambda>()"),
        (WithLock().method, "the function itself, at .__self__.lock"),
        (functools.partial(nothing, LOCK), "the function itself, at .args[0]"),
    ],
)
def test_what_cannot_be_pickled_in_a_function(session: Session, function: Any, where: str) -> None:
    with pytest.raises(PickleException) as caught:
        plain_function(function, {})
    assert str(caught.value).endswith(f"cannot be pickled: TypeError: cannot pickle '_thread.lock' object ({where})")


def test_what_cannot_be_pickled_in_arguments(session: Session) -> None:
    @remote()
    def function(ctx: Any, a: Any, b: Any = None, *rest: Any) -> bytes:
        return b""

    with pytest.raises(PickleException, match=r"_thread.lock' object \(argument 'b', at \['x'\]\[1\]\)$"):
        function(1, {"x": (1, LOCK)})
    with pytest.raises(PickleException, match=r"\(argument 'rest'\)$"):
        function(1, 2, 3, LOCK)
    with pytest.raises(PickleException, match=r"\(argument 2, at .lock\)$"):
        session._plain_function(nothing, {})._call_in(session, (1, WithLock()), {})
    with pytest.raises(PickleException, match=r"\(argument 'key'\)$"):
        session._plain_function(nothing, {})._call_in(session, (), {"key": LOCK})


def test_clients_and_sessions_say_that_they_cannot_travel(session: Session, client: Client) -> None:
    for wrong, name in ((client, "client"), (session, "session")):
        with pytest.raises(RainException, match=f"A {name} cannot be sent to a task"):
            remote()(lambda ctx, a: b"")([wrong])
        with pytest.raises(RainException, match=f"A {name} cannot be sent to a task"):
            remote()(lambda ctx: wrong)()  # noqa: B023
