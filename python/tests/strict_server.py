"""A fake server that keeps account of sessions, and refuses what does not follow the rules of the protocol."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

from fake_server import FakeServer, Refuse, numbers

NONE = 0xFFFF_FFFF


class StrictSession:
    """What a client has submitted."""

    def __init__(self) -> None:
        self.kinds: list[dict[str, Any]] = []
        self.forgotten_kinds: set[int] = set()
        self.tasks = 0
        self.objects = 0
        self.kept: set[int] = set()
        self.contents: dict[int, bytes] = {}
        self.uploads: dict[int, bytes] = {}
        self.submits = 0
        self.users: dict[int, str] = {}
        # By task: the objects that it reads.
        self.inputs: list[list[int]] = []


class StrictServer(FakeServer):
    """All tasks are finished at once; the content of an output is its number, and what its task has read."""

    def __init__(self, runtime: Path, port: int = 7999, local: bool = False) -> None:
        self.open: dict[int, StrictSession] = {}
        # The bytes of each submit's request, as far as they are in its columns and contents.
        self.sizes: list[int] = []
        self.refuse_submit: str | None = None
        super().__init__(runtime, port, local)

    def session(self, body: dict[str, Any]) -> StrictSession:
        if body["session"] not in self.open:
            raise Refuse("session", f"session {body['session']} does not exist")
        return self.open[body["session"]]

    def _new_session(self, body: dict[str, Any]) -> dict[str, Any]:
        self.sessions += 1
        self.open[self.sessions] = StrictSession()
        return {"session": self.sessions}

    def _close_session(self, body: dict[str, Any]) -> dict[str, Any]:
        self.session(body)
        del self.open[body["session"]]
        return {}

    def _upload(self, body: dict[str, Any]) -> dict[str, Any]:
        session = self.session(body)
        content = session.uploads.pop(body["object"], b"") if body["offset"] else b""
        require(len(content) == body["offset"] and body["offset"] + len(body["data"]) <= body["total"], "pieces")
        session.uploads[body["object"]] = content + body["data"]
        return {}

    def _submit(self, body: dict[str, Any]) -> dict[str, Any]:
        session = self.session(body)
        if self.refuse_submit is not None:
            raise Refuse("request", self.refuse_submit)
        count = body["count"]
        kinds = [*session.kinds, *body["kinds"]]
        kind = numbers(body["kind"], count) if count else []
        require(all(number < len(kinds) and number not in session.forgotten_kinds for number in kind), "kind")
        input_counts = numbers(body["input_count"], count) if count else []
        inputs = numbers(body["inputs"])
        require(sum(input_counts) == len(inputs), "input_count")
        first_output = numbers(body["first_output"], count) if count else []
        config = numbers(body["config"], count) if count else []
        require(all(number == NONE or number < len(body["configs"]) for number in config), "config")
        known = session.objects
        made: dict[int, bytes] = {}
        for number, _, _, data in body["consts"]:
            require(number not in made, "two constants")
            made[number] = session.uploads[number] if data is None else data
        position = 0
        read_by = []
        for task in range(count):
            read = inputs[position : position + input_counts[task]]
            position += input_counts[task]
            for item in read:
                require(item in session.kept if item < known else item in made, f"task {task} reads object {item}")
            outputs = len(kinds[kind[task]]["outputs"])
            require((first_output[task] == NONE) == (outputs == 0), "first_output")
            for index in range(outputs):
                require(first_output[task] + index not in made, f"object {first_output[task] + index} is made twice")
                made[first_output[task] + index] = b"%d" % (first_output[task] + index)
            read_by.append(read)
        require(sorted(made) == list(range(known, known + len(made))), "object ids")
        keep = numbers(body["keep"])
        require(len(set(keep)) == len(keep) and all(number in made for number in keep), "keep")
        # Nothing has changed before this.
        session.kinds = kinds
        session.tasks += count
        session.objects += len(made)
        session.kept.update(keep)
        session.contents.update(made)
        session.users.update(body["user"])
        session.inputs += read_by
        session.submits += 1
        parts = [*body["configs"], *(data or b"" for _, _, _, data in body["consts"]), body["inputs"], body["kind"]]
        self.sizes.append(sum(map(len, parts)) + sum(len(kind["config"]) for kind in body["kinds"]))
        return {}

    def _check(self, body: dict[str, Any]) -> StrictSession:
        session = self.session(body)
        require(all(number < session.tasks for number in numbers(body["tasks"])), "tasks")
        require(all(number < session.objects for number in numbers(body["objects"])), "objects")
        return session

    def _wait(self, body: dict[str, Any]) -> dict[str, Any]:
        self._check(body)
        return {}

    def _wait_some(self, body: dict[str, Any]) -> dict[str, Any]:
        self._check(body)
        return {"tasks": body["tasks"], "objects": body["objects"]}

    def _wait_all(self, body: dict[str, Any]) -> dict[str, Any]:
        self.session(body)
        return {}

    def _cancel(self, body: dict[str, Any]) -> dict[str, Any]:
        self._check({"objects": b"", **body})
        return {"tasks": b""}

    def _info(self, body: dict[str, Any]) -> dict[str, Any]:
        self._check(body)
        return {
            "tasks": [{"id": number, "state": "finished"} for number in numbers(body["tasks"])],
            "objects": [{"id": number, "state": "finished", "size": 1} for number in numbers(body["objects"])],
        }

    def _fetch(self, body: dict[str, Any]) -> dict[str, Any]:
        session = self.session(body)
        require(body["object"] in session.kept, f"object {body['object']} is not kept")
        content = session.contents[body["object"]]
        data = content[body["offset"] : body["offset"] + body["limit"]]
        return {"size": len(content), "data_type": 0, "content_type": None, "info": {}, "data": data}

    def _results(self, body: dict[str, Any]) -> dict[str, Any]:
        session = self.session(body)
        asked = numbers(body["objects"])
        kept = [[number, session.contents[number]] for number in asked if number in session.kept]
        missing = [number for number in asked if number not in session.kept]
        errors = [[array("I", [number]).tobytes(), error(f"object {number} is not kept")] for number in missing]
        return {"results": kept, "large": b"", "errors": errors}

    def _unkeep(self, body: dict[str, Any]) -> dict[str, Any]:
        session = self.session(body)
        for number in numbers(body["objects"]):
            require(number in session.kept, f"object {number} is not kept")
            session.kept.discard(number)
        return {}

    def _forget(self, body: dict[str, Any]) -> dict[str, Any]:
        session = self._check({"objects": b"", **body})
        for number in numbers(body.get("kinds", b"")):
            require(number < len(session.kinds) and number not in session.forgotten_kinds, f"kind {number}")
            session.forgotten_kinds.add(number)
        return {}


def error(message: str) -> dict[str, Any]:
    """What is wrong with a part of a request."""
    return {"kind": "request", "message": message}


def require(condition: bool, what: str) -> None:
    """Refuse a request that breaks a rule."""
    if not condition:
        raise Refuse("request", f"a rule was broken: {what}")
