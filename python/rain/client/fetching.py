"""Fetching: the requests for the content of an object, and what is made of the replies."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..common.content_type import merge_content_types
from ..common.data_instance import DataInstance
from ..common.errors import RainException
from ..common.ids import ID, DataType
from ..common.mapped_file import MappedFile
from .connection import Connection
from .graph import ObjectItem

# Memory for so much is used again for the next piece; for more, each piece would get new pages from the system.
FETCH_PIECE = 8 << 20


class _Content(NamedTuple):
    """What has come: the reply that describes it, and the bytes or the file with them."""

    reply: dict[str, Any]
    data: bytes | bytearray | None
    file: MappedFile | None


class Fetching:
    """One fetch: `body` is the next request, until :meth:`take` has got all replies that it needs."""

    def __init__(self, dataobj: ObjectItem, connection: Connection) -> None:
        if not dataobj._kept:
            raise RainException(f"Only kept objects can be fetched; call keep() before the submit: {dataobj!r}")
        self.dataobj = dataobj
        self._direct = connection.direct
        # The path of a directory ends with the object; its archive is here for good.
        mapped = connection.local and dataobj._data_type is DataType.BLOB
        self.body = {
            "session": dataobj._session.session_id,
            "object": dataobj._oid,
            "map": mapped,
            "offset": 0,
            "limit": FETCH_PIECE,
        }
        if self._direct is not None:
            self.body["direct"] = True
        self._first: dict[str, Any] | None = None
        self._data: bytes | bytearray = b""

    @staticmethod
    def takes_long(reply: dict[str, Any]) -> bool:
        """Whether :meth:`take` fetches content and waits for it."""
        return "at" in reply

    def take(self, reply: dict[str, Any], deadline: float | None = None) -> DataInstance | None:
        """Take the reply to the last request; the content, or None if there is another request to make.

        Raises:
            RainTimeout: Content has not come until the deadline, a time of :func:`time.monotonic`.
        """
        __tracebackhide__ = True
        content = self._take(reply, deadline)
        return None if content is None else self._instance(content)

    def take_content(self, reply: dict[str, Any]) -> bytes | bytearray | MappedFile | None:
        """As :meth:`take`, for the bytes alone, or the file with them, which is to be read at once."""
        content = self._take(reply, None, stays=False)
        return None if content is None else content.file or content.data

    def _take(self, reply: dict[str, Any], deadline: float | None, stays: bool = True) -> _Content | None:
        """Take a reply; with `stays`, content is there also when its file is removed."""
        __tracebackhide__ = True
        if "at" in reply:
            return self._fetch_directly(reply, deadline)
        first = self._first
        if first is None:
            first = self._first = reply
            # Opened at once: the object may be freed before it is looked at.
            if "path" in reply:
                file = MappedFile(reply["path"])
                if stays:
                    file.detach()
                return _Content(first, None, file)
            if len(reply["data"]) >= reply["size"]:
                return _Content(first, reply["data"], None)
            self._data = bytearray(reply["data"])
        else:
            if not reply["data"]:
                raise RainException(f"The server sent {len(self._data)} of {first['size']} bytes of {self.dataobj!r}")
            self._data += reply["data"]
        if len(self._data) >= first["size"]:
            return _Content(first, bytes(self._data), None)
        self.body = {**self.body, "map": False, "offset": len(self._data)}
        return None

    def _fetch_directly(self, reply: dict[str, Any], deadline: float | None) -> _Content | None:
        __tracebackhide__ = True
        dataobj = self.dataobj
        found = self._direct and self._direct.fetch(reply["at"], dataobj._session.session_id, dataobj._oid, deadline)
        if found:
            header, content = found
            return _Content({**header, "info": reply["info"]}, content, None)
        self.body = {**self.body, "direct": False}
        return None

    def _instance(self, content: _Content) -> DataInstance:
        reply, data, file = content
        dataobj = self.dataobj
        content_type = merge_content_types(dataobj._content_type, reply.get("content_type"))
        info = {"state": "finished", "size": reply["size"], "content_type": content_type, **reply.get("info", {})}
        dataobj._set_info(info)
        return DataInstance(
            data,
            content_type=content_type,
            data_type=DataType.from_wire(reply["data_type"]),
            file=file,
            size=reply["size"],
            id=ID(dataobj._session.session_id, dataobj._oid),
            spec=dataobj.spec,
            info=dataobj.info,
        )
