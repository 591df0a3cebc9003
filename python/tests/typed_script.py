"""A script as a user with mypy --strict writes it; checked and run by test_typing.py."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import Future, as_completed, wait

from rain.client import (
    Client,
    DataObject,
    Executor,
    Input,
    Output,
    Program,
    RainException,
    Task,
    TaskException,
    blob,
    pickled,
    remote,
    tasks,
)
from rain.common import ID, DataInstance, DataType, LabeledList
from rain.common.attributes import ObjectInfo, TaskInfo, TaskSpec
from rain.executor.context import Context


@remote(outputs=(Output("text"), Output("numbers", encode="json")), cpus=1, retries=1, timeout=30.0, priority=2)
def split(ctx: Context, data: DataInstance, limit: int = 10) -> tuple[str, list[int]]:
    ctx.debug("{} bytes", data.size)
    text: str = data.get_str()
    return text[:limit], [len(text)]


grep = Program(["grep", "rain", Input("data")], stdout=True, env={"LC_ALL": "C"}, priority=1)


def square(number: int) -> int:
    return number * number


def graph(client: Client) -> list[int]:
    with client.new_session("typed") as session:
        data: DataObject = blob("rain\nsun\n")
        found: Task = grep(data=data)
        parts: Task = split(found, limit=3)
        outputs: LabeledList[DataObject] = parts.outputs
        outputs["text"].keep()
        outputs[1].keep()
        slept: Task = tasks.Sleep(tasks.Concat([data, found.output], content_type="text"), 0.0, name="nap")
        session.submit()
        session.wait([slept, data])
        text: DataInstance = outputs["text"].fetch()
        assert text.get_bytes() == b"rai" and text.data_type is DataType.BLOB
        parts.update()
        info: TaskInfo = parts.info
        spec: TaskSpec = parts.spec
        shape: ObjectInfo = outputs[0].info
        number: ID | None = parts.id
        assert info.duration is not None and spec.id == number and shape.size == 3
        for item in session.as_completed([found, outputs[0]]):
            item.update()
        numbers: list[int] = outputs[1].fetch().load()
        return numbers


async def later(client: Client) -> bytes:
    with client.new_session() as session:
        task = tasks.Concat([blob("a"), blob("b")])
        task.output.keep()
        session.submit()
        done: Task = await task
        instance: DataInstance = await done.output
        return instance.get_bytes()


def futures(client: Client) -> int:
    with client.executor(cpus=1) as executor:
        future: Future[int] = executor.submit(square, 3)
        wait([future])
        total = sum(executor.map(square, range(4)))
        return total + sum(each.result() for each in as_completed([future]))


def main() -> None:
    with Client(cpus=2) as client:
        print(graph(client), asyncio.run(later(client)), futures(client))
        with client.new_session() as session:
            remote(lambda ctx: 1 // 0)()
            values = session.map(square, [1, 2])
            session.submit()
            try:
                session.wait_all()
            except TaskException as error:
                failed: str = error.error
                print("ZeroDivisionError" in failed, len(values))
            try:
                pickled(1, label="closed")
            except RainException:
                sys.exit(1)
    with Executor(cpus=1) as own:
        print(list(own.map(square, [5])))


if __name__ == "__main__":
    main()
