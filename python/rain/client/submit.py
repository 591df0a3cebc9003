"""The wire form of a submit: columns for all tasks at once."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from ..common.columns import to_column
from ..common.errors import RainException
from .kind import Kind

if TYPE_CHECKING:
    from .data import DataObject
    from .session import Session
    from .task import Task

NONE = 0xFFFF_FFFF
# A constant that is larger, or that does not fit into the rest of a submit, goes ahead of it in pieces.
INLINE_CONSTANT = 1 << 20
INLINE_CONSTANTS = 64 << 20
UPLOAD_PIECE = 16 << 20


class Batch:
    """What a session has that is not submitted, numbered and encoded."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.tasks: list[Task] = list(session._new_tasks)
        self.constants: list[DataObject] = list(session._constants)
        self.kept: list[DataObject] = list(session._kept)
        self.specified: list[Any] = list(session._specified)
        self.new_kinds: dict[Kind, int] = {}
        self.object_count = session._submitted_objects
        self.generation: str = getattr(session.client, "_generation", "")
        self.uploads: list[tuple[int, bytes]] = []
        # Encoding makes many objects and no garbage; collections would look at all tasks in vain.
        collecting = gc.isenabled()
        gc.disable()
        try:
            self._number()
            self.body = self._encode()
        except BaseException:
            self.undo()
            raise
        finally:
            if collecting:
                gc.enable()

    def undo(self) -> None:
        """The submit was refused: nothing in it has a number."""
        for task in self.tasks:
            task._oid = -1
        for task in self.session._shown:
            for output in task._outputs:
                output._oid = -1
        for constant in self.constants:
            constant._oid = -1

    def commit(self) -> None:
        """The submit was carried out."""
        session = self.session
        first = session._submitted_tasks
        session._submitted_tasks += len(self.tasks)
        session._submitted.update(zip(range(first, session._submitted_tasks), self.tasks))
        # Another thread may have added to it.
        del session._new_tasks[: len(self.tasks)]
        session._submitted_objects = self.object_count
        if session._generation != self.generation:
            session._generation = self.generation
            session._kind_ids = {kind: number for kind, number in session._kind_ids.items() if not kind.process}
        session._kind_ids.update(self.new_kinds)
        session._kind_count += len(self.new_kinds)
        session._batch = object()
        for item in self.specified:
            if item._oid >= 0:
                item._finish_spec()
        # In place, as other threads may add to them.
        lists: tuple[list[Any], ...] = (session._constants, session._kept, session._shown, session._specified)
        for pending in lists:
            count = len(pending)
            pending[:count] = [item for item in pending[:count] if item._oid < 0]
        for constant in self.constants:
            constant._content = None

    def _number(self) -> None:
        object_id = self.object_count
        for constant in self.constants:
            constant._oid = object_id
            object_id += 1
        task_id = self.session._submitted_tasks
        for task in self.tasks:
            task._id = task_id
            task._oid = object_id
            task_id += 1
            object_id += task._kind.n_outputs
        self.object_count = object_id
        for task in list(self.session._shown):
            # Tasks that another thread made meanwhile are not in this batch.
            if task._oid >= 0:
                for index, output in enumerate(task._outputs):
                    output._oid = task._oid + index

    def _encode(self) -> dict[str, Any]:
        tasks = self.tasks
        kinds = [task._kind for task in tasks]
        inputs = [task._inputs for task in tasks]
        configs, config = self._configs()
        return {
            "session": self.session.session_id,
            "count": len(tasks),
            "kind": column(self._kind_numbers(kinds)),
            "kinds": [kind.wire(self.generation) for kind in self.new_kinds],
            "input_count": column(list(map(len, inputs))),
            "inputs": to_column([item._oid for items in inputs for item in items]),
            "first_output": column([task._oid if kind.n_outputs else NONE for task, kind in zip(tasks, kinds)]),
            "configs": configs,
            "config": column(config),
            "user": self._user(),
            "consts": self._consts(),
            "keep": to_column([kept._oid for kept in self.kept if kept._oid >= 0]),
        }

    def _kind_numbers(self, kinds: list[Kind]) -> list[int]:
        known = self.session._kind_ids
        if self.session._generation != self.generation:
            # Kinds for executor processes of an earlier generation are made known again, for new ones.
            known = {kind: number for kind, number in known.items() if not kind.process}
        for kind in dict.fromkeys(kinds):
            if kind not in known:
                self.new_kinds[kind] = self.session._kind_count + len(self.new_kinds)
        numbers = {**known, **self.new_kinds} if self.new_kinds else known
        return [numbers[kind] for kind in kinds]

    def _configs(self) -> tuple[list[bytes], list[int]]:
        configs = [task._config for task in self.tasks]
        distinct: dict[bytes | None, int] = {}
        for config in configs:
            if config not in distinct:
                distinct[config] = len(distinct)
        if None in distinct:
            # Its number must not shift the others: it becomes the last one and then "none".
            del distinct[None]
            distinct = {config: number for number, config in enumerate(distinct)}
            distinct[None] = NONE
        return [config for config in distinct if config is not None], [distinct[config] for config in configs]

    def _user(self) -> dict[int, str]:
        from .task import Task

        user = {}
        for item in self.specified:
            if isinstance(item, Task) and item._oid >= 0 and item.spec.user:
                try:
                    user[item._id] = msgspec.json.encode(item.spec.user).decode()
                except (TypeError, ValueError) as error:
                    raise RainException(f"spec.user of {item.describe()} is not JSON-serializable: {error}") from None
        return user

    def _consts(self) -> list[tuple[int, int, str | None, bytes | None]]:
        room = INLINE_CONSTANTS
        consts = []
        for constant in self.constants:
            content: bytes | None = constant._content or b""
            assert content is not None
            if len(content) > min(INLINE_CONSTANT, room):
                self.uploads.append((constant._oid, content))
                content = None
            else:
                room -= len(content)
            consts.append((constant._oid, constant._data_type.wire, constant._content_type, content))
        return consts


def upload_pieces(object_id: int, content: bytes) -> Iterable[dict[str, Any]]:
    """The bodies of the requests that upload a constant."""
    view = memoryview(content)
    for offset in range(0, len(view), UPLOAD_PIECE):
        piece = view[offset : offset + UPLOAD_PIECE]
        yield {"object": object_id, "total": len(view), "offset": offset, "data": piece}


def column(numbers: list[int]) -> bytes:
    """A column of the protocol: one number if all are equal."""
    if numbers and numbers.count(numbers[0]) == len(numbers):
        numbers = numbers[:1]
    return to_column(numbers)
