"""How a session submits: whole batches, whose numbers count once it is known that the server has them."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any, Callable

from ..common.columns import to_column
from ..common.errors import RainException
from .connection import Request, RequestError, deadline_after
from .data import DataObject
from .graph import Graph
from .kind import Kind
from .outbox import Outbox
from .submit import PART_BYTES, Batch, batches, upload_pieces
from .task import Task

# Is told what the server has answered to a submit: None, or why it was refused.
Answered = Callable[["RainException | None"], None]
# After an interrupt, the reply to a submit is waited for so long; it comes at once from a server that is not stuck.
SETTLE_SECONDS = 1.0


class Submitting(Graph):
    """The part of a session that sends what was added to it, and that an interrupt at any point leaves in order."""

    def __init__(self, client: Any, session_id: int, name: str) -> None:
        super().__init__(client, session_id, name)
        # The batch that is being submitted, and whether its thread was interrupted and has left it.
        self._unsettled: Batch | None = None
        self._interrupted = False
        # Calls of executors that are not submitted.
        self._outbox = Outbox()

    def _submit(self) -> None:
        """Submit all that there is."""
        __tracebackhide__ = True
        if self._unsettled is not None:
            self._settle_interrupted()
        for batch in batches(self):
            self._carry_out(batch)
        self._outbox.ask()
        self._tidy()

    def _submit_calls(self, calls: list[Task], answered: Answered) -> None:
        """Submit calls of executors, and what was made before.

        What the server says to calls and nothing else need not be waited for: hardly anything can be wrong with them.
        The request goes with the next one that is started, and `answered` is called when the server has answered,
        perhaps more than once.
        """
        __tracebackhide__ = True
        self._check_open()
        if self._unsettled is not None:
            self._settle_interrupted()
        if self._new_tasks[: len(calls)] == calls:
            batch = Batch(self, calls, _constants_of(calls), [])
            if batch.size <= PART_BYTES:
                if batch.has_new_kinds:
                    self._carry_out(batch)
                    answered(None)
                else:
                    self._carry_out(batch, answered)
                self._tidy()
                return
        self._submit()
        answered(None)

    def _tidy(self) -> None:
        """After a submit, let go of what nothing needs any more."""
        self._free_held()
        if self._referred and not self._new_tasks:
            self._referred.clear()
        dropped = self._functions.drop_kinds()
        if dropped:
            self._forget_kinds(dropped)

    def _carry_out(self, batch: Batch, answered: Answered | None = None) -> None:
        """Submit a batch, or nothing of it."""
        __tracebackhide__ = True
        try:
            try:
                # From here on it has numbers, about which it is decided whether they count.
                self._unsettled = batch
                self._send_batch(batch, answered)
                if answered is None:
                    self._settle()
                else:
                    batch.publish()
                    self._unsettled = None
                    self._interrupted = False
            except BaseException:
                self._leave_batch()
                raise
        except BaseException:
            # Once more, after an interrupt in the lines above.
            self._leave_batch()
            raise

    def _send_batch(self, batch: Batch, answered: Answered | None) -> None:
        __tracebackhide__ = True
        body = batch.encode()
        for object_id, content in batch.uploads:
            for piece in upload_pieces(object_id, content):
                self._request("upload", piece)
        batch.request = self._connection.prepare("submit", body)
        if answered is None:
            # The reply is kept if it comes later.
            batch.request.forsaken = _remember
            self._call(batch.request)
        else:
            batch.request.forsaken = partial(self._take_reply, answered)
            self._connection.queue(batch.request)

    def _take_reply(self, answered: Answered, request: Request) -> None:
        if request.reply is not None:
            answered(self._exception(request.reply[2]) if request.reply[0] != "ok" else None)

    def _leave_batch(self) -> None:
        """A thread that submits a batch leaves it with an exception."""
        __tracebackhide__ = True
        self._interrupted = self._unsettled is not None
        self._settle_interrupted(SETTLE_SECONDS)

    def _settle(self) -> None:
        """Decide about the numbers of the last batch: it was submitted if its request was sent and not refused."""
        __tracebackhide__ = True
        batch = self._unsettled
        if batch is not None:
            request = batch.request
            sent = request is not None and request.sent
            reply = request.reply if request is not None else None
            if sent and reply is None and not self._connection.closed:
                # On its way: nothing speaks against it until the reply does.
                return
            if sent and reply is not None and reply[0] == "ok":
                batch.publish()
            else:
                batch.withdraw()
        self._unsettled = None
        self._interrupted = False

    def _settle_interrupted(self, timeout: float | None = None) -> None:
        """Wait for the reply to the last submit, if it is on its way, and settle it."""
        __tracebackhide__ = True
        batch = self._unsettled
        if batch is not None and batch.request is not None and batch.request.sent:
            with contextlib.suppress(RainException, RequestError):
                self._connection.wait_again(batch.request, deadline_after(timeout))
        self._settle()

    def _check_settled(self) -> None:
        __tracebackhide__ = True
        if self._interrupted:
            self._locked(self._settle_later)
        # Whatever is asked about the session concerns these, too.
        if self._outbox.waiting and not self._submitting._is_owned():
            self._locked(self._outbox.send, self)

    def _withdraw(self, tasks: list[Task]) -> None:
        """Take out tasks that were made last and not submitted, with the hidden constants that only they read."""
        hidden = {id(item) for task in tasks for item in task._inputs[len(task._shown_inputs) :]}
        self._submitting.run(self._take_out, set(map(id, tasks)), hidden)

    def _take_out(self, gone: set[int], hidden: set[int]) -> None:
        # Other threads may add to the ends of these lists.
        count = len(self._new_tasks)
        self._new_tasks[:count] = [task for task in self._new_tasks[:count] if id(task) not in gone]
        count = len(self._kept)
        self._kept[:count] = [
            item for item in self._kept[:count] if id(item._task) not in gone and id(item) not in hidden
        ]
        count = len(self._constants)
        self._constants[:count] = [item for item in self._constants[:count] if id(item) not in hidden]
        self._batch = object()

    def _settle_later(self) -> None:
        """Before anything else is done with the session: settle a submit that was interrupted."""
        __tracebackhide__ = True
        batch = self._unsettled
        if not self._interrupted or batch is None:
            return
        self._settle_interrupted()
        reply = batch.request.reply if batch.request is not None else None
        if reply is not None and reply[0] != "ok":
            raise RainException(f"The submit that was interrupted was refused: {self._exception(reply[2])}")

    def _free_held(self) -> None:
        """Free what was held for later parts of a graph."""
        if self._held:
            self._connection.post("unkeep", {"session": self.session_id, "objects": to_column(self._held)})
            self._held.clear()

    def _forget_kinds(self, kinds: list[Kind]) -> None:
        """Have the server forget kinds; tasks of these that are not submitted make them known again."""
        numbers = [self._kind_ids.pop(kind, None) for kind in kinds]
        column = to_column(number for number in numbers if number is not None)
        if column:
            body = {"session": self.session_id, "tasks": b"", "kinds": column}
            self._connection.post("forget", body)


def _constants_of(calls: list[Task]) -> list[DataObject]:
    """The constants that calls read, and that are not submitted."""
    found = {
        item: None
        for call in calls
        if call._inputs
        for item in call._inputs
        if isinstance(item, DataObject) and item._task is None and item._number < 0
    }
    return list(found)


def _remember(request: Request) -> None:
    """What is done with a reply that comes when nobody waits for it: it stays with the request."""
