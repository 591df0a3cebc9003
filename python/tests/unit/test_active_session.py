"""Which session is active: in threads, in asyncio, in copies of contexts."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest

from rain.client import Client, RainException, Session, blob, tasks
from rain.client import active as active_module


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    assert active_module._stack.get() == () and active_module._bound == {} and active_module._default is None
    yield
    assert active_module._stack.get() == () and active_module._bound == {}
    active_module._default = None


def elsewhere(function: Callable[[], Any]) -> Any:
    """What a function returns, or the text of what it raises, in a thread that has bound nothing."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(function())
        except RainException as error:
            found.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    return found[0]


def made_in() -> Session:
    return blob("x").session


def test_coroutines_have_their_own(client: Client) -> None:
    order: list[int] = []

    async def job(number: int, barrier: list[asyncio.Event]) -> bool:
        with client.new_session(f"job {number}") as session:
            before = made_in() is session
            # All are in their blocks at the same time, and go on in the other order.
            if number < 2:
                await barrier[number].wait()
            order.append(number)
            same = made_in() is session and tasks.Noop().session is session
            with client.new_session() as inner:
                await asyncio.sleep(0)
                nested = made_in() is inner
            session.submit()
            if number > 0:
                barrier[number - 1].set()
            return before and same and nested and made_in() is session

    async def run() -> list[bool]:
        barrier = [asyncio.Event(), asyncio.Event()]
        return await asyncio.gather(*(job(number, barrier) for number in range(3)))

    assert asyncio.run(run()) == [True] * 3
    assert order == [2, 1, 0]


def test_blocks_in_asynchronous_code(client: Client) -> None:
    """A block that is open around an event loop, or around the start of a task, holds for what begins in it."""

    async def later(event: asyncio.Event) -> Session:
        await event.wait()
        return made_in()

    async def run() -> None:
        event = asyncio.Event()
        assert made_in() is outer
        with inner.bind_only():
            started = asyncio.create_task(later(event))
        other = asyncio.create_task(later(event))
        event.set()
        assert await started is inner
        assert await other is outer

    inner = client.new_session()
    with client.new_session() as outer:
        asyncio.run(run())


def test_a_task_that_outlives_the_block_of_its_session(client: Client) -> None:
    async def later(event: asyncio.Event) -> None:
        await event.wait()
        with pytest.raises(RainException, match="no active session: <Session .* closed>, which was bound here last"):
            blob("x")

    async def run() -> None:
        event = asyncio.Event()
        with client.new_session():
            started = asyncio.create_task(later(event))
            await asyncio.sleep(0)
        event.set()
        await started

    with client.new_session():
        asyncio.run(run())


def test_a_helper_thread_has_the_only_session(client: Client) -> None:
    with client.new_session() as session:
        assert elsewhere(made_in) is session
        with session.bind_only():
            assert elsewhere(made_in) is session
        with ThreadPoolExecutor(2) as pool:
            assert set(pool.map(lambda _: made_in(), range(4))) == {session}
    assert "There is no active session; use" in elsewhere(made_in)


def test_a_helper_thread_is_told_when_several_sessions_can_be_meant(client: Client) -> None:
    opened, ended = threading.Event(), threading.Event()

    def other() -> None:
        with client.new_session("B"):
            opened.set()
            assert ended.wait(30)

    with client.new_session("A") as session:
        thread = threading.Thread(target=other)
        thread.start()
        assert opened.wait(30)
        try:
            text = elsewhere(made_in)
            assert "there are several elsewhere (<Session 1 'A'>, <Session 2 'B'>)" in text
            assert "with session.bind_only():" in text and "copy_context().run" in text
            # What to do, done.
            assert made_in() is session

            def bound() -> Session:
                with session.bind_only():
                    return made_in()

            assert elsewhere(bound) is session
            context = contextvars.copy_context()
            assert elsewhere(lambda: context.run(made_in)) is session
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(contextvars.copy_context().run, made_in).result(30) is session
        finally:
            ended.set()
            thread.join(30)
        assert elsewhere(made_in) is session


def test_the_default_session(client: Client) -> None:
    default = client.new_session(default=True)
    assert made_in() is default
    assert elsewhere(made_in) is default
    opened, ended = threading.Event(), threading.Event()

    def other() -> None:
        with client.new_session():
            opened.set()
            assert ended.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    assert opened.wait(30)
    # Whoever made it the default is no helper of the other thread.
    assert made_in() is default
    with client.new_session() as session:
        assert made_in() is session
    assert "there are several elsewhere" in elsewhere(made_in)
    ended.set()
    thread.join(30)
    assert elsewhere(made_in) is default
    with client.new_session() as session:
        assert "there are several elsewhere" in elsewhere(made_in)
    with default.bind_only():
        assert elsewhere(made_in) is default
    default.close()
    assert "There is no active session; use" in elsewhere(made_in)


def test_many_threads_bind_and_close(client: Client) -> None:
    """Binding, leaving and closing at the same time in many threads never disturbs another one."""
    wrong: list[object] = []

    def work() -> None:
        for _ in range(100):
            with client.new_session() as session:
                with session.bind_only():
                    if made_in() is not session:
                        wrong.append(session)
                with client.new_session() as inner:
                    if made_in() is not inner:
                        wrong.append(inner)
                if made_in() is not session:
                    wrong.append(session)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_blocks_that_do_not_nest(client: Client) -> None:
    first, second = client.new_session(), client.new_session()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert made_in() is second
    second.__exit__(None, None, None)


def test_a_block_that_is_left_in_another_context(client: Client) -> None:
    """As by a generator that is closed elsewhere, or a fixture."""
    session = client.new_session()
    contextvars.copy_context().run(session.__enter__)
    assert elsewhere(made_in) is session
    session.__exit__(None, None, None)
    assert session.closed
