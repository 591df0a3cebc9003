"""Pickles with large buffers that are not copied: written from where they are, and loaded where they lie in a file.

A pickle keeps buffers in place, so whoever reads it with :func:`pickle.loads` has the same value. Two things about its
form make more possible. Python's pickler ends a frame before each content of 64 KiB or more, and writes that with a
call of its own: so it can be taken as a piece without a copy; and in a file it is found by going from frame to frame.
Before such a content, Rain puts opcodes that do nothing, so that it begins at a multiple of 64 bytes.

When a file is loaded, buffers of arrays are replaced by parts of a private, writable mapping of it: a write to an array
copies the pages that it changes, and nobody else sees it. Other large contents, which are to be bytes, are read from
the file straight into these.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Union

if TYPE_CHECKING:
    from .mapped_file import MappedFile

Piece = Union[bytes, memoryview]

# Contents from this size on are pieces of their own; Python's pickler has the same bound.
LARGE = 64 << 10
# Buffers begin at a multiple of this in what Rain writes; in what others write, less is enough for all numbers.
ALIGNMENT = 64
LEAST_ALIGNMENT = 16

# What takes a buffer and refers to it from then on, by module and name, of pickled arrays.
_TAKERS = {
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("pyarrow.lib", "py_buffer"),
}
_NUMPY, _ARROW = b"_frombuffer", b"py_buffer"

_MARK, _FRAME, _SHORT_BYTES = 0x28, 0x95, 0x43
_BYTES, _BYTES_8, _BYTEARRAY = 0x42, 0x8E, 0x96
_NEXT_BUFFER = b"\x97"
# Opcodes with a content that can be large: how many bytes tell its length.
_CONTENTS = {_BYTES: 4, _BYTES_8: 8, _BYTEARRAY: 8, 0x58: 4, 0x8D: 8}
# Opcodes that stand between frames where these would be too short, with the number of bytes of their arguments; the
# last two have texts, whose length is the first byte.
_SHORT = {
    **dict.fromkeys(b".0N()}]atesubR1\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94", 0),
    0x68: 1,
    0x4B: 1,
    0x4D: 2,
    0x80: 1,
}
_SHORT_TEXTS = (_SHORT_BYTES, 0x8C)


class Content(NamedTuple):
    """A large content in a pickle: where its opcode and its bytes are."""

    opcode: int
    start: int
    begin: int
    size: int
    # Whether it looks like the argument of what makes an array.
    is_argument: bool


class _Pieces:
    """Takes what a pickler writes; nothing of it is in Python, as each result of a call comes through here."""

    __slots__ = ("pieces", "write")

    def __init__(self) -> None:
        self.pieces: list[Any] = []
        self.write = self.pieces.append


def dump_pieces(make: Callable[[Any], pickle.Pickler], value: Any) -> list[Piece]:
    """Pickle a value in pieces: those of large contents refer to what is in the value.

    Args:
        make: Makes the pickler for a file.
        value: The value.

    Raises:
        Exception: Whatever the pickling raises.
    """
    file = _Pieces()
    make(file).dump(value)
    if len(file.pieces) == 1:
        # Nothing of it is large.
        return file.pieces
    pieces: list[Piece] = [piece if type(piece) is bytes else memoryview(piece).cast("B") for piece in file.pieces]
    position = 0
    for number, piece in enumerate(pieces):
        if number and len(piece) >= LARGE:
            before = pieces[number - 1]
            padding, count = _padding(before, len(piece), position)
            if padding:
                pieces[number - 1] = bytes(before[:-count]) + padding + bytes(before[-count:])
                position += len(padding)
        position += len(piece)
    return pieces


def without_contents(pieces: list[Piece]) -> Iterator[Piece]:
    """The pieces of a pickle but for large contents."""
    before: Piece = b""
    for piece in pieces:
        if len(piece) < LARGE or not _head(before, len(piece)):
            yield piece
        before = piece


def _head(before: Piece, size: int) -> int:
    """How many bytes the opcode of a content has, which is at the end of the piece before it; 0 if that is none."""
    for opcode, count in _CONTENTS.items():
        head = 1 + count
        if len(before) >= head and before[-head] == opcode and before[-count:] == size.to_bytes(count, "little"):
            return head
    return 0


def _padding(before: Piece, size: int, position: int) -> tuple[bytes, int]:
    """Opcodes that do nothing, so that a piece at a position is aligned; and how many bytes its own opcode has."""
    head = _head(before, size)
    missing = -position % ALIGNMENT
    if missing == 0 or head == 0:
        return b"", head
    if missing < 3:
        missing += ALIGNMENT
    # Some bytes, which are dropped at once.
    return bytes((_SHORT_BYTES, missing - 3)) + bytes(missing - 3) + b"0", head


def load_file(file: MappedFile) -> Any:
    """Load a pickle from a file; large buffers of arrays are not copied.

    Raises:
        Exception: Whatever the unpickling raises.
    """
    view = file.view()
    contents = list(_large_contents(view)) if view.nbytes >= LARGE else []
    if not any(content.opcode in (_BYTES, _BYTES_8) or content.is_argument for content in contents):
        return pickle.loads(view)
    arguments = [content for content in contents if content.is_argument and content.begin % LEAST_ALIGNMENT == 0]
    private = file.private() if arguments else None
    if private is not None:
        buffers = {content.start: private[content.begin : content.begin + content.size] for content in arguments}
        for content in arguments:
            if content.opcode != _BYTEARRAY:
                buffers[content.start] = buffers[content.start].toreadonly()
        taken: set[int] = set()
        value = _load(file, view, contents, buffers, taken)
        if all(id(buffer) in taken for buffer in buffers.values()):
            return value
        # One of them is what it looks like: bytes.
        del value
    return _load(file, view, contents, {}, set())


def _load(
    file: MappedFile, view: memoryview, contents: list[Content], buffers: dict[int, memoryview], taken: set[int]
) -> Any:
    """Load a pickle whose large contents come in another way; notes which buffers went to what refers to them."""
    pieces: list[Piece] = []
    given: list[Any] = []
    position = 0
    for content in contents:
        end = content.begin + content.size
        if content.start in buffers:
            given.append(buffers[content.start])
        elif content.opcode in (_BYTES, _BYTES_8):
            given.append(file.read(content.begin, content.size))
        else:
            continue
        pieces += [view[position : content.start], _NEXT_BUFFER]
        position = end
    pieces.append(view[position:])
    return _Unpickler(io.BytesIO(b"".join(pieces)), buffers=given, taken=taken).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, *, buffers: list[Any], taken: set[int]) -> None:
        super().__init__(file, buffers=buffers)
        self._taken = taken

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if (module, name) not in _TAKERS:
            return found

        def take(buffer: Any, *rest: Any) -> Any:
            self._taken.add(id(buffer))
            return found(buffer, *rest)

        return take


def _large_contents(view: memoryview) -> Iterator[Content]:
    """The large contents of a pickle, as Python's pickler writes them; none from where it has another form."""
    position, end = 0, view.nbytes
    has_numpy = has_arrow = False
    last = 0
    while position < end:
        opcode = view[position]
        if opcode == _FRAME:
            begin = position + 9
            position = begin + int.from_bytes(view[position + 1 : begin], "little")
            if position > end:
                return
            frame = bytes(view[begin:position])
            has_numpy = has_numpy or _NUMPY in frame
            has_arrow = has_arrow or _ARROW in frame
            last = frame[-1] if frame else 0
        elif opcode in _CONTENTS:
            begin = position + 1 + _CONTENTS[opcode]
            size = int.from_bytes(view[position + 1 : begin], "little")
            if begin + size > end:
                return
            if size >= LARGE:
                is_buffer = opcode in (_BYTES, _BYTES_8, _BYTEARRAY)
                is_argument = is_buffer and ((has_numpy and last == _MARK) or has_arrow)
                yield Content(opcode, position, begin, size, is_argument)
            position = begin + size
            last = 0
        elif opcode in _SHORT_TEXTS:
            position += 2 + (view[position + 1] if position + 1 < end else 0)
        elif opcode in _SHORT:
            # What pads does not count: a value and its end.
            if opcode != 0x30:
                last = opcode
            position += 1 + _SHORT[opcode]
        else:
            return
