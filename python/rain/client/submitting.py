"""How a session submits: whole batches, whose numbers count once it is known that the server has them."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any, Callable

from ..common.columns import to_column
from ..common.errors import RainException
from .connection import Request, RequestError, deadline_after
from .graph import Graph
from .kind import Kind
from .submit import Batch, batches, upload_pieces

# After an interrupt, the reply to a submit is waited for so long; it comes at once from a server that is not stuck.
SETTLE_SECONDS = 1.0


class Submitting(Graph):
    """The part of a session that sends what was added to it, and that an interrupt at any point leaves in order."""

    def __init__(self, client: Any, session_id: int, name: str) -> None:
        super().__init__(client, session_id, name)
        # The batch that is being submitted, and whether its thread was interrupted and has left it.
        self._unsettled: Batch | None = None
        self._interrupted = False

    def _submit(self, calls: int = 0, refused: Callable[[RainException], None] | None = None) -> None:
        """Submit all that there is.

        If that is so many calls of functions, and no more, what the server says to it need not be waited for: hardly
        anything can be wrong with them. The request goes with the next one that is started; if it is refused all the
        same, `refused` is called, perhaps more than once.
        """
        __tracebackhide__ = True
        if self._unsettled is not None:
            self._settle_interrupted()
        for batch in batches(self):
            if (
                refused is not None
                and len(batch.tasks) == calls
                and not (batch.has_new_kinds or self._new_tasks[calls:])
            ):
                self._carry_out(batch, refused)
            else:
                self._carry_out(batch)
        self._free_held()
        if self._referred and not self._new_tasks:
            self._referred.clear()
        dropped = self._functions.drop_kinds()
        if dropped:
            self._forget_kinds(dropped)

    def _carry_out(self, batch: Batch, refused: Callable[[RainException], None] | None = None) -> None:
        """Submit a batch, or nothing of it."""
        __tracebackhide__ = True
        try:
            try:
                # From here on it has numbers, about which it is decided whether they count.
                self._unsettled = batch
                self._send_batch(batch, refused)
                if refused is None:
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

    def _send_batch(self, batch: Batch, refused: Callable[[RainException], None] | None) -> None:
        __tracebackhide__ = True
        body = batch.encode()
        for object_id, content in batch.uploads:
            for piece in upload_pieces(object_id, content):
                self._request("upload", piece)
        batch.request = self._connection.prepare("submit", body)
        if refused is None:
            # The reply is kept if it comes later.
            batch.request.forsaken = _remember
            self._call(batch.request)
        else:
            batch.request.forsaken = partial(self._take_reply, refused)
            self._connection.queue(batch.request)

    def _take_reply(self, refused: Callable[[RainException], None], request: Request) -> None:
        if request.reply is not None and request.reply[0] != "ok":
            refused(self._exception(request.reply[2]))

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


def _remember(request: Request) -> None:
    """What is done with a reply that comes when nobody waits for it: it stays with the request."""
