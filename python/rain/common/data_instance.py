"""The content of a data object."""

from __future__ import annotations

import os
from typing import Any

from .attributes import ObjectInfo, ObjectSpec, read_user
from .content_type import check_content_type, decode_file, decode_value, text_encoding
from .errors import RainException
from .ids import ID, DataType
from .mapped_file import MappedFile

# How much of a content its representation shows.
PREVIEW_BYTES = 40


class DataInstance:
    """The content of a data object together with its attributes.

    In the client it is what ``fetch()`` returns; in a remote function it stands where a data object was passed.
    The content is not copied before it is asked for: :meth:`get_view` never copies a large object,
    :meth:`get_bytes` does once.
    """

    __slots__ = (
        "_data",
        "_directory",
        "_file",
        "_info",
        "_size",
        "_spec",
        "_spec_user_json",
        "_user_json",
        "content_type",
        "data_type",
        "id",
    )

    def __init__(
        self,
        data: bytes | bytearray | memoryview | None = None,
        *,
        content_type: str | None = None,
        data_type: DataType = DataType.BLOB,
        file: MappedFile | None = None,
        directory: str | None = None,
        size: int | None = None,
        id: ID | None = None,
        spec: ObjectSpec | None = None,
        info: ObjectInfo | None = None,
        user_json: str | None = None,
        spec_user_json: str | None = None,
    ) -> None:
        self._data = data
        self._file = file
        self._directory = directory
        self._size = size
        self._spec = spec
        self._info = info
        self._user_json = user_json
        self._spec_user_json = spec_user_json
        self.content_type = content_type
        self.data_type = data_type
        self.id = id

    @property
    def spec(self) -> ObjectSpec:
        """The specification of the object."""
        if self._spec is None:
            user, _ = read_user(self._spec_user_json)
            self._spec = ObjectSpec(self.id, None, self.content_type, self.data_type, user)
        return self._spec

    @property
    def info(self) -> ObjectInfo:
        """The attributes of the content; ``info.user`` may be filled in an instance that a remote function returns."""
        if self._info is None:
            user, fault = read_user(self._user_json, final=False)
            self._info = ObjectInfo(size=self._size, content_type=self.content_type, debug=fault, user=user)
        return self._info

    @property
    def size(self) -> int:
        """The size of the content in bytes (of a directory: about that)."""
        if self._size is None:
            if self._directory is not None:
                self._size = sum(
                    os.lstat(os.path.join(root, name)).st_size
                    for root, _, names in os.walk(self._directory)
                    for name in names
                )
            else:
                self._size = len(self.get_view())
        return self._size

    @property
    def path(self) -> str | None:
        """Where the content is in the file system, if it is there; it must not be changed."""
        return self._directory if self._file is None else self._file.path

    def get_view(self) -> memoryview:
        """The content as a read-only buffer, without a copy of a large blob. A directory is a tar archive."""
        if self._file is not None:
            return self._file.view()
        if self._data is None:
            return memoryview(self.get_bytes())
        return memoryview(self._data).toreadonly()

    def get_bytes(self) -> bytes:
        """The content as bytes. A directory is a tar archive."""
        if self._file is not None:
            return self._file.bytes()
        if self._directory is not None:
            from .archive import pack_directory

            return pack_directory(self._directory)
        if not isinstance(self._data, bytes):
            self._data = b"" if self._data is None else bytes(self._data)
        return self._data

    def get_str(self, encoding: str | None = None) -> str:
        """The content as text: in the encoding of the content type, UTF-8 if it has none."""
        try:
            return str(self.get_view(), encoding or text_encoding(self.content_type))
        except UnicodeDecodeError as error:
            raise RainException(f"The data is not text: {error}") from None
        except LookupError as error:
            raise RainException(f"The data cannot be read as text: {error}") from None

    def load(self) -> Any:
        """The value that the content stands for, according to its content type."""
        if self.data_type is not DataType.BLOB:
            raise RainException("A directory cannot be loaded; use write(), link() or get_bytes()")
        check_content_type(self.content_type)
        if self._file is not None:
            return decode_file(self._file, self.content_type)
        return decode_value(self.get_view(), self.content_type)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Make a copy of the content at a path; it may be changed freely."""
        path = os.fspath(path)
        # Writing through a link that link() made would change the object.
        if os.path.islink(path):
            os.unlink(path)
        if self._directory is not None:
            from .archive import copy_directory

            copy_directory(self._directory, path)
        elif self.data_type is DataType.DIRECTORY:
            from .archive import unpack_directory

            unpack_directory(self.get_bytes(), path)
        else:
            with open(path, "wb", buffering=0) as file:
                rest = self.get_view()
                while rest:
                    rest = rest[file.write(rest) :]

    def link(self, path: str | os.PathLike[str]) -> None:
        """Make the content appear at a path, for reading only; it is a copy where it is not in the file system."""
        if self.path is None or self.id is None:
            self.write(path)
        else:
            os.symlink(os.path.abspath(self.path), path)

    def __str__(self) -> str:
        if self.data_type is DataType.BLOB and self.size <= 4096:
            return repr(self.get_bytes())
        return repr(self)

    def __repr__(self) -> str:
        kind = f" {self.content_type}" if self.content_type else ""
        return f"<DataInstance {self.data_type.value}{kind}, {self.size} bytes{self._preview()}>"

    def _preview(self) -> str:
        """The beginning of the content, if it is at hand."""
        try:
            if self.data_type is not DataType.BLOB or not self.size:
                return ""
            begin = bytes(self.get_view()[:PREVIEW_BYTES])
        except (OSError, RainException):
            return ""
        # A character may be cut in two.
        shown = begin.decode(errors="ignore") if self.content_type in ("text", "json") else begin
        return f": {shown!r}{'…' if self.size > len(begin) else ''}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.get_bytes(), self.content_type, self.data_type)


def _restore(data: bytes, content_type: str | None, data_type: DataType) -> DataInstance:
    return DataInstance(data, content_type=content_type, data_type=data_type)
