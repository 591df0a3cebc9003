"""How the functions that a session's tasks call get to the executors: each once, however many calls there are."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

import msgspec

from .capture import FAMILIES, source_lines
from .data import DataObject
from .graph import Graph
from .kind import Kind, Limits, OutputSpec
from .locking import Mutex
from .search_path import SearchPath

if TYPE_CHECKING:
    from .capture import Capture

TASK_TYPE = "py/run"
# Functions and arguments above this size travel as objects.
LARGE = 64 << 10
# So many functions that differ in values only, and so many functions of one session, have a kind of task of their own.
KINDS_OF_FAMILY = 8
KINDS_OF_SESSION = 1000
# Kinds that were not used for longest are forgotten when a session has so many.
KINDS_REMEMBERED = 256
# A function that is sent with its calls gets a kind after so many times.
USES_WITHOUT_KIND = 16
# Large functions that the server keeps for later submits of a session.
KEPT_FUNCTIONS = 8
KEPT_BYTES = 512 << 20

_encode = msgspec.msgpack.Encoder().encode


class Template(NamedTuple):
    """What tasks that call a function have in common beside the function."""

    # Without what depends on the function: the configuration of the kind, as the executor reads it.
    options: dict[str, Any]
    outputs: tuple[OutputSpec, ...]
    cpus: int
    name: str
    limits: Limits
    # All of it, to find equal ones.
    key: bytes

    @staticmethod
    def make(
        options: Mapping[str, Any], outputs: tuple[OutputSpec, ...], cpus: int, name: str, limits: Limits
    ) -> Template:
        """A template; equal ones have equal keys."""
        key = _encode((options, [(o.label, o.data_type.wire, o.content_type) for o in outputs], cpus, name, limits))
        return Template(dict(options), outputs, cpus, name, limits, key)


class HiddenObject(DataObject):
    """A constant that holds arguments or a function, and that users do not see."""

    __slots__ = ("_is_forgotten",)

    # Whether the server was told that it is not used any more.
    _is_forgotten: bool

    @staticmethod
    def make(session: Graph, content: bytes) -> HiddenObject:
        """A new one, which is sent with the next submit."""
        from ..common.ids import DataType

        made = HiddenObject(session, "", DataType.BLOB, None, content=content)
        made._is_forgotten = False
        session._constants.append(made)
        return made


class Sent:
    """How a function gets to executors in calls of one submit, as it was at one moment.

    Attributes:
        batch: The submit: :attr:`Session._batch`.
        path: The module search path, as :data:`sys.path` has it.
        kind: The kind of task.
        function: Where the kind does not have it: the pickle, or a reference to the object with it, which the session's
            table keeps alive.
        digest: That of the pickle.
        differs: Asks whether the function may be another one by now; None if it cannot be, in this submit.
    """

    __slots__ = ("batch", "differs", "digest", "function", "kind", "path")

    def __init__(
        self,
        batch: object,
        path: list[str],
        kind: Kind,
        function: bytes | weakref.ref[HiddenObject] | None,
        digest: bytes,
    ) -> None:
        self.batch = batch
        self.path = path
        self.kind = kind
        self.function = function
        self.digest = digest
        self.differs: Callable[[], bool] | None = None


class _Family:
    """Functions of the same code."""

    __slots__ = ("code", "kinds", "uses")

    def __init__(self, code: Any) -> None:
        # Kept alive, so that no other one gets its identity.
        self.code = code
        self.kinds = 0
        self.uses: OrderedDict[bytes, int] = OrderedDict()

    def use(self, digest: bytes) -> int:
        """Count a use of a function without a kind; how often it was used."""
        count = self.uses.pop(digest, 0) + 1
        self.uses[digest] = count
        if len(self.uses) > KINDS_OF_FAMILY:
            self.uses.popitem(last=False)
        return count


class FunctionTable:
    """The kinds of tasks of a session that call functions, and the objects with large functions.

    A function that changes all the time, or a new lambda for each call, must not make a new kind of task each time: a
    session keeps its kinds. So after some variants of a function, further ones travel with the calls.
    """

    def __init__(self) -> None:
        self._lock = Mutex()
        # Those used last at the end.
        self._kinds: OrderedDict[tuple[Any, ...], Kind] = OrderedDict()
        self._families: OrderedDict[int, _Family] = OrderedDict()
        # By digest, those used last at the end.
        self._large: OrderedDict[bytes, _LargeFunction] = OrderedDict()

    def send(self, session: Graph, template: Template, capture: Capture, path: SearchPath) -> Sent | None:
        """How a function gets to executors; None if its pickle is needed, which is not at hand any more."""
        return self._lock.run(self._send, session, template, capture, path)

    def _send(self, session: Graph, template: Template, capture: Capture, path: SearchPath) -> Sent | None:
        batch = session._batch
        digest = capture.digest
        if capture.size > LARGE:
            large = self._object(session, capture)
            if large is None:
                return None
            return Sent(batch, path.given, self._shared_kind(template, capture, path), weakref.ref(large), digest)
        key = (template.key, digest, path.digest)
        kind = self._known_kind(key)
        if kind is None and self._may_have_kind(capture):
            kind = self._kinds[key] = _kind(template, capture.code, capture.sources, path)
        if kind is not None:
            return Sent(batch, path.given, kind, None, digest)
        return Sent(batch, path.given, self._shared_kind(template, capture, path), capture.code, digest)

    def _may_have_kind(self, capture: Capture) -> bool:
        if len(self._kinds) >= KINDS_OF_SESSION:
            return False
        family = self._family(capture)
        if family.kinds >= KINDS_OF_FAMILY and family.use(capture.digest) <= USES_WITHOUT_KIND:
            return False
        family.kinds += 1
        return True

    def _family(self, capture: Capture) -> _Family:
        number = id(capture.family)
        family = self._families.get(number)
        if family is None:
            family = self._families[number] = _Family(capture.family)
            if len(self._families) > FAMILIES:
                self._families.popitem(last=False)
        else:
            self._families.move_to_end(number)
        return family

    def _shared_kind(self, template: Template, capture: Capture, path: SearchPath) -> Kind:
        """The kind of calls that bring their function along, for all functions of a family."""
        few = len(self._kinds) < KINDS_OF_SESSION
        key = (template.key, id(self._family(capture).code) if few else None, path.digest)
        kind = self._known_kind(key)
        if kind is None:
            kind = self._kinds[key] = _kind(template, None, source_lines([capture.family]) if few else [], path)
        return kind

    def _known_kind(self, key: tuple[Any, ...]) -> Kind | None:
        kind = self._kinds.get(key)
        if kind is not None:
            self._kinds.move_to_end(key)
        return kind

    def drop_kinds(self) -> list[Kind]:
        """The kinds that were not used for longest, where there are too many; calls to come do not have them."""
        # Looked at after each submit.
        return self._lock.run(self._drop_kinds) if len(self._kinds) > KINDS_REMEMBERED else []

    def _drop_kinds(self) -> list[Kind]:
        return [self._kinds.popitem(last=False)[1] for _ in range(len(self._kinds) - KINDS_REMEMBERED)]

    def _object(self, session: Graph, capture: Capture) -> HiddenObject | None:
        """The object with a large function; None if it has to be made and the pickle is not at hand."""
        large = self._large.get(capture.digest)
        if large is None:
            large = self._large[capture.digest] = _LargeFunction(capture.size)
        self._large.move_to_end(capture.digest)
        found = large.object
        if found is not None and (large.batch is session._batch or (found._kept and found._oid >= 0)):
            return found
        code = capture.take_code()
        if code is None:
            return None
        found = large.object = HiddenObject.make(session, code)
        large.batch = session._batch
        large.submits += 1
        # An object is dropped when it was used. One that is needed in a second submit is kept for further ones.
        if large.submits > 1:
            found.keep()
            self._unkeep_some(session)
        return found

    def _unkeep_some(self, session: Graph) -> None:
        """Free kept functions that were not used for long, if there are too many."""
        count = size = 0
        freed: list[HiddenObject] = []
        for large in reversed(self._large.values()):
            found = large.object
            if found is None or not found._kept:
                continue
            count += 1
            size += large.size
            if found._oid >= 0 and count > 1 and (count > KEPT_FUNCTIONS or size > KEPT_BYTES):
                freed.append(found)
        while len(self._large) > FAMILIES and not next(iter(self._large.values())).is_kept:
            self._large.popitem(last=False)
        if freed:
            session._let_go(freed)


class _LargeFunction:
    __slots__ = ("batch", "object", "size", "submits")

    def __init__(self, size: int) -> None:
        self.size = size
        self.object: HiddenObject | None = None
        # The submit for which the object was made, and for how many submits there was one.
        self.batch: object = None
        self.submits = 0

    @property
    def is_kept(self) -> bool:
        return self.object is not None and self.object._kept


def _kind(template: Template, code: bytes | None, sources: list[tuple[str, int, str]], path: SearchPath) -> Kind:
    options = {**template.options, "function": code, "path": path.entries}
    if sources:
        options["sources"] = sources
    return Kind(
        TASK_TYPE,
        template.outputs,
        cpus=template.cpus,
        name=template.name,
        config=_encode(options),
        limits=template.limits,
        process=path.digest,
    )
