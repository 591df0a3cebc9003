"""Results that a server has stored because its time was over, or it was stopped (``--results-dir``)."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from ..common.data_instance import DataInstance
from ..common.errors import RainException
from ..common.ids import DataType
from ..common.mapped_file import MappedFile

LIST = "results.jsonl"


class StoredResult(msgspec.Struct, frozen=True):
    """A result that was kept when its server ended.

    Attributes:
        data: The content; read when it is asked for, as after ``fetch()``.
        task_name: The name of the task that made it, or its type if it had none.
        label: The label of the task's output.
        task_id: The task's number in its session.
        object_id: The object's number in its session.
    """

    data: DataInstance
    task_name: str
    label: str
    task_id: int
    object_id: int


def load_results(directory: str | os.PathLike[str]) -> list[StoredResult]:
    """The results of a session that a server has stored below ``--results-dir``, in the order of their objects.

    Results that could not be stored are left out; the list in the directory, ``results.jsonl``, says why.

    Args:
        directory: The directory of the session, which has the session's name.

    Raises:
        RainException: There are no stored results, or their list is damaged.
    """
    path = os.path.join(directory, LIST)
    try:
        with open(path, "rb") as file:
            lines: list[dict[str, Any]] = [msgspec.json.decode(line) for line in file]
        lines.sort(key=lambda line: line["object"])
        return [_result(os.path.join(directory, line["file"]), line) for line in lines if "file" in line]
    except OSError as error:
        raise RainException(f"No stored results in {os.fspath(directory)}: {path}: {error.strerror}") from None
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise RainException(f"{path} is damaged: {error}") from None


def _result(path: str, line: dict[str, Any]) -> StoredResult:
    size, user = line["size"], line.get("user")
    if line["data_type"] == "dir":
        data = DataInstance(directory=path, data_type=DataType.DIRECTORY, size=size, user_json=user)
    else:
        data = DataInstance(file=MappedFile(path), content_type=line.get("content_type"), size=size, user_json=user)
    return StoredResult(data, line["task_name"], line["label"], line["task"], line["object"])
