"""What a session submits: numbered, in the form of the protocol, and cut into parts where it is large."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from typing import Any, Callable, TypeVar

import msgspec

from ..common.columns import to_column
from ..common.errors import RainException, UsageError
from ..common.given import plain_number
from .connection import Request
from .data import DataObject, SentAgain
from .frames import MAX_FRAME
from .function_table import TASK_TYPE, HiddenObject
from .graph import Graph
from .kind import Kind
from .task import Task

T = TypeVar("T")
# Tasks with something in `spec.user`, and this as JSON.
UserTexts = list[tuple[Task, str]]

NONE = 0xFFFF_FFFF
# What has more bytes than about this is submitted in parts.
PART_BYTES = 32 << 20
# A larger constant goes ahead of the submit, in pieces.
INLINE_CONSTANT = 1 << 20
UPLOAD_PIECE = 16 << 20
# What a task, an input, a constant and a kind take beside their contents, at most.
_TASK_BYTES = 5 * 4
_INPUT_BYTES = 4
_CONSTANT_BYTES = 64
_KIND_BYTES = 512


class Batch:
    """Tasks and constants that go to the server in one submit.

    They get their numbers before it is known whether they will be submitted: then, :meth:`publish` makes it so, or
    :meth:`withdraw` takes the numbers back. Both may be interrupted and called again.

    Args:
        session: Where they are.
        tasks: The first of those that are not submitted.
        constants: Some that are not submitted, all that the tasks need among them.
        users: The user texts of these tasks, and of others.
        held: Objects that are made here and that later batches need: they are kept until then.
    """

    def __init__(
        self,
        session: Graph,
        tasks: list[Task],
        constants: list[DataObject],
        users: UserTexts,
        held: Iterable[Task | DataObject] = (),
    ) -> None:
        self.session = session
        self.tasks = tasks
        self.constants = constants
        self.held = held
        self.first_task = session._submitted_tasks
        self.first_object = self.end_object = session._submitted_objects
        self.generation: str = getattr(session.client, "_generation", "")
        self.first_kind = session._kind_count
        self.uploads: list[tuple[int, bytes]] = []
        # Set when there is something to send.
        self.request: Request | None = None
        self._users = users
        self._kinds = [task._kind for task in tasks]
        self._inputs = [task._inputs for task in tasks]
        self._input_counts = list(map(len, self._inputs))
        self._configs = [task._config for task in tasks]
        if session._object_users:
            self._configs = [_with_users(task, session._object_users) for task in tasks]
        self._distinct: dict[bytes | None, int] = dict.fromkeys(self._configs, 0)
        self._has_default = self._distinct.pop(None, None) is not None
        self._new_kinds: dict[Kind, int] = {}
        self._known_kinds = session._kind_ids
        if session._generation != self.generation:
            # Kinds for executor processes of an earlier generation are made known again, for new ones.
            self._known_kinds = _of_all_generations(session._kind_ids)
        for kind in dict.fromkeys(self._kinds):
            if kind not in self._known_kinds:
                self._new_kinds[kind] = self.first_kind + len(self._new_kinds)

    @property
    def size(self) -> int:
        """About how many bytes the submit has, at most."""
        total = _TASK_BYTES * len(self.tasks) + _INPUT_BYTES * sum(self._input_counts)
        total += sum(map(len, self._distinct))  # type: ignore[arg-type]
        total += sum(map(_kind_bytes, self._new_kinds)) + sum(map(_constant_bytes, self.constants))
        return total + sum(len(text) for _, text in self._users)

    @property
    def has_new_kinds(self) -> bool:
        """Whether it makes kinds known to the server, which may have something against them."""
        return bool(self._new_kinds)

    def encode(self) -> dict[str, Any]:
        """Number everything; the body of the request."""
        # This makes many objects and no garbage; collections would look at all tasks in vain.
        return _without_collections(self._encode)

    def withdraw(self) -> None:
        """Nothing is submitted, so nothing has a number."""
        for task in self.tasks:
            task._oid = -1
        for constant in self.constants:
            constant._number = -1

    def publish(self) -> None:
        """All of it is submitted."""
        session, tasks = self.session, self.tasks
        end_task = self.first_task + len(tasks)
        session._submitted.update(zip(range(self.first_task, end_task), tasks))
        # Other threads may have added to it.
        if tasks and session._new_tasks and session._new_tasks[0] is tasks[0]:
            del session._new_tasks[: len(tasks)]
        session._submitted_tasks = end_task
        session._submitted_objects = self.end_object
        if session._generation != self.generation:
            session._kind_ids = _of_all_generations(session._kind_ids)
            session._generation = self.generation
        session._kind_ids.update(self._new_kinds)
        session._kind_count = self.first_kind + len(self._new_kinds)
        session._batch = object()
        session._held.update(item._oid for item in self.held if not _is_kept(item))
        for item in session._specified:
            if item._oid >= 0:
                item._finish_spec()
        for pending in (session._constants, session._kept, session._specified):
            count = len(pending)
            pending[:count] = [item for item in pending[:count] if item._oid < 0]
        for constant in self.constants:
            if not (constant._kept or isinstance(constant, (HiddenObject, SentAgain))):
                session._contents.add(constant, constant._content or b"")
            constant._content = None

    def _encode(self) -> dict[str, Any]:
        self._number()
        tasks, kinds, distinct = self.tasks, self._kinds, self._distinct
        for number, config in enumerate(distinct):
            distinct[config] = number
        configs = list(distinct)
        if self._has_default:
            # What has none has that of its kind.
            distinct[None] = NONE
        numbers = self._known_kinds
        if self._new_kinds:
            numbers = {**numbers, **self._new_kinds}
        return {
            "session": self.session.session_id,
            "count": len(tasks),
            "kind": column([numbers[kind] for kind in kinds]),
            "kinds": [kind.wire(self.generation) for kind in self._new_kinds],
            "input_count": column(self._input_counts),
            "inputs": to_column([item._oid for items in self._inputs for item in items]),
            "first_output": column([task._oid if kind.n_outputs else NONE for task, kind in zip(tasks, kinds)]),
            "configs": configs,
            "config": column([distinct[config] for config in self._configs]),
            "user": {task._id: text for task, text in self._users if task._oid >= 0 and task._id >= self.first_task},
            "consts": self._consts(),
            "keep": self._keep(),
        }

    def _number(self) -> None:
        object_id = self.first_object
        for constant in self.constants:
            constant._number = object_id
            object_id += 1
        task_id = self.first_task
        for task in self.tasks:
            task._id = task_id
            task._oid = object_id
            task_id += 1
            object_id += task._kind.n_outputs
        self.end_object = object_id

    def _consts(self) -> list[tuple[int, int, str | None, bytes | None]]:
        consts = []
        for constant in self.constants:
            content: bytes | None = constant._content or b""
            assert content is not None
            if len(content) > INLINE_CONSTANT:
                self.uploads.append((constant._oid, content))
                content = None
            consts.append((constant._oid, constant._data_type.wire, constant._content_type, content))
        return consts

    def _keep(self) -> bytes:
        first, end = self.first_object, self.end_object
        kept = [item._oid for item in self.session._kept if item._kept and first <= item._oid < end]
        if self.session._has_calls:
            kept += [task._oid for task in self.tasks if task._keeps_output]
        return to_column(dict.fromkeys([*kept, *(item._oid for item in self.held)]))


def batches(session: Graph) -> Iterator[Batch]:
    """What is not submitted, in as many parts as it takes; each is made when the one before was submitted."""
    tasks, constants = list(session._new_tasks), list(session._constants)
    users = _user_texts(session) if session._specified else []
    whole = Batch(session, tasks, constants, users)
    if whole.size <= PART_BYTES:
        yield whole
        return
    del whole
    for part in _Cut(session, tasks, constants, users).parts:
        yield Batch(session, part.tasks, part.constants, users, part.held.values())


def upload_pieces(object_id: int, content: bytes) -> Iterator[dict[str, Any]]:
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


class _Part:
    """Tasks and constants for one submit, and which of their objects later ones need."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.constants: list[DataObject] = []
        self.held: dict[tuple[int, int], Task | DataObject] = {}
        self.configs: set[bytes | None] = {None}
        self.bytes = 0


class _Cut:
    """Cuts what is not submitted into parts of about PART_BYTES, in the order of the tasks.

    A constant goes with the first task that needs it. What a later part needs is held, so that the server does not drop
    it meanwhile.
    """

    def __init__(self, session: Graph, tasks: list[Task], constants: list[DataObject], users: UserTexts) -> None:
        self.parts = [_Part()]
        self._kinds = set(session._kind_ids)
        self._users = {id(task): len(text) for task, text in users}
        self._constants = {id(constant) for constant in constants}
        # In which part a task or constant is, by its identity.
        self._places: dict[int, _Part] = {}
        for task in tasks:
            self._add_task(task)
        for constant in constants:
            if id(constant) not in self._places:
                # No task needs it.
                self._add_constant(self._part_for(_constant_bytes(constant)), constant)

    def _add_task(self, task: Task) -> None:
        size = _TASK_BYTES + _INPUT_BYTES * len(task._inputs) + self._users.get(id(task), 0)
        if task._kind not in self._kinds:
            self._kinds.add(task._kind)
            size += _kind_bytes(task._kind)
        constants = [
            item
            for item in dict.fromkeys(task._inputs)
            if isinstance(item, DataObject) and id(item) in self._constants and id(item) not in self._places
        ]
        config_bytes = len(task._config or b"")
        if size + config_bytes > MAX_FRAME - PART_BYTES:
            raise RainException(
                f"{task.describe()} has {(size + config_bytes) >> 20} MiB without its inputs, which is more than a "
                "server takes; pass large values as blob()"
            )
        constant_bytes = sum(map(_constant_bytes, constants))
        if constant_bytes > PART_BYTES // 2:
            # They need not be in the same part: those that are not are held.
            for constant in constants:
                self._add_constant(self._part_for(_constant_bytes(constant)), constant)
            constants, constant_bytes = [], 0
        part = self._part_for(size + constant_bytes + config_bytes, task._config)
        if task._config not in part.configs:
            part.configs.add(task._config)
            part.bytes += config_bytes
        part.bytes += size
        part.tasks.append(task)
        self._places[id(task)] = part
        for constant in constants:
            self._add_constant(part, constant)
        for item in task._inputs:
            maker, index = item, 0
            if isinstance(item, DataObject) and item._task is not None:
                maker, index = item._task, item._index
            place = self._places.get(id(maker))
            if place is not None and place is not part:
                place.held[id(maker), index] = item

    def _add_constant(self, part: _Part, constant: DataObject) -> None:
        self._places[id(constant)] = part
        part.constants.append(constant)
        part.bytes += _constant_bytes(constant)

    def _part_for(self, size: int, config: bytes | None = None) -> _Part:
        """The last part, or another one if it has no room for so many bytes, of which a configuration is one part."""
        part = self.parts[-1]
        if config in part.configs:
            size -= len(config or b"")
        if part.bytes + size > PART_BYTES and (part.tasks or part.constants):
            part = _Part()
            self.parts.append(part)
        return part


def _user_texts(session: Graph) -> UserTexts:
    """Those of tasks; those of objects are noted in the session, for all tasks that read them."""
    texts = []
    for item in session._specified:
        spec = getattr(item, "_spec", None)
        if spec is None or not spec.user:
            continue
        try:
            text = msgspec.json.encode(spec.user, enc_hook=plain_number).decode()
        except (TypeError, ValueError) as error:
            named = item.describe() if isinstance(item, Task) else repr(item)
            raise UsageError(f"spec.user of {named} is not JSON-serializable: {error}") from None
        if isinstance(item, Task):
            texts.append((item, text))
        else:
            session._object_users[item] = text
    return texts


def _with_users(task: Task, users: dict[Any, str]) -> bytes | None:
    """The configuration of a task, for a function with what ``spec.user`` of its inputs has."""
    if task._kind.task_type != TASK_TYPE:
        return task._config
    found = {}
    for number, item in enumerate(task._shown_inputs):
        if isinstance(item, Task):
            outputs = getattr(item, "_outputs", None)
            item = outputs[0] if outputs else item
        if item in users:
            found[number] = users[item]
    return msgspec.msgpack.encode({"args": task._config, "users": found}) if found else task._config


def _of_all_generations(kinds: dict[Kind, int]) -> dict[Kind, int]:
    """The kinds whose tasks do not care which executor process they run in."""
    return {kind: number for kind, number in kinds.items() if not kind.process}


def _constant_bytes(constant: DataObject) -> int:
    size = len(constant._content or b"")
    return _CONSTANT_BYTES + (size if size <= INLINE_CONSTANT else 0)


def _kind_bytes(kind: Kind) -> int:
    return _KIND_BYTES + len(kind.config)


def _is_kept(item: Task | DataObject) -> bool:
    return (item if isinstance(item, DataObject) else item.output)._kept


def _without_collections(function: Callable[[], T]) -> T:
    """Call a function while the garbage collector does not run."""
    if not gc.isenabled():
        return function()
    try:
        try:
            gc.disable()
            result = function()
            gc.enable()
            return result
        except BaseException:
            gc.enable()
            raise
    except BaseException:
        # Here after an interrupt in the lines above.
        gc.enable()
        raise
