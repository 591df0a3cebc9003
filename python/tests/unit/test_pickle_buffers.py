"""Pickles with large contents: in pieces, aligned, and loaded from files without copies.

These tests need pyarrow, numpy and pandas, which the other tests do not.
"""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import pytest

from rain.common import pickling
from rain.common.content_type import decode_file
from rain.common.mapped_file import MappedFile
from rain.common.pickle_buffers import ALIGNMENT, LARGE

pa = pytest.importorskip("pyarrow")
np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")

KIB = 1 << 10


class Odd:
    """Something of the user's, which counts how often it is unpickled."""

    loaded = 0

    def __init__(self, value: Any) -> None:
        self.value = value

    def __setstate__(self, state: dict[str, Any]) -> None:
        Odd.loaded += 1
        self.__dict__.update(state)


def array(count: int = 50_000, kind: str = "int64") -> Any:
    return np.arange(count).astype(kind)


def values() -> list[Any]:
    frozen = array()
    frozen.flags.writeable = False
    shared = array()
    return [
        (True, bytes(300 * KIB)),
        (True, array()),
        [array(), b"x" * 300 * KIB, array(kind="float32"), "y" * 300 * KIB, bytearray(300 * KIB)],
        (b"z" * 300 * KIB, bytearray(b"w" * 300 * KIB)),
        [(bytearray(300 * KIB), b"1" * LARGE, array())],
        {"transposed": array().reshape(-1, 10).T, "strided": array()[::2], "frozen": frozen},
        [shared, shared, shared[10:]],
        np.array(["a", "bc"] * 100_000),
        np.array([object, 1, "x"] * 50_000, dtype=object),
        Odd([array(), bytes(300 * KIB)]),
        list(range(200_000)),
        ["_frombuffer", "py_buffer", bytes(300 * KIB), bytearray(300 * KIB)],
        b"_frombuffer" * 50_000,
    ]


def equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        same = one.dtype == other.dtype and one.flags.writeable == other.flags.writeable
        return same and bool((one == other).all())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, Odd):
        return equal(one.value, other.value)
    return bool(one == other)


def stored(path: Path, content: bytes) -> MappedFile:
    path.write_bytes(content)
    return MappedFile(str(path))


@pytest.mark.parametrize("number", range(len(values())))
@pytest.mark.parametrize("how", ["rain", "python", "old", "by value"])
def test_values_are_the_same_again(tmp_path: Path, number: int, how: str) -> None:
    value = values()[number]
    if how == "rain":
        content = pickling.dump(value)
    elif how == "by value":
        from rain.common.by_value import dump_by_value

        content = dump_by_value(value)
    else:
        content = pickle.dumps(value, protocol=5 if how == "python" else 3)
    expected = pickle.loads(content)
    Odd.loaded = 0
    file = stored(tmp_path / "content", content)
    assert equal(decode_file(file, "pickle"), expected)
    assert equal(decode_file(file, "pickle"), expected)
    file.detach()
    (tmp_path / "content").unlink()
    assert equal(decode_file(file, "pickle"), expected)
    assert equal(decode_file(file, "pickle"), expected)
    assert Odd.loaded == (4 if isinstance(value, Odd) else 0)


def test_arrays_are_parts_of_the_file_and_writes_are_seen_by_nobody_else(tmp_path: Path) -> None:
    value = [array(), "between", array(kind="float64"), array(70_000, "int8")]
    file = stored(tmp_path / "content", pickling.dump(value))
    first, second = decode_file(file, "pickle"), decode_file(file, "pickle")
    for number in (0, 2, 3):
        loaded = first[number]
        assert loaded.flags.writeable and loaded.flags.aligned and loaded.ctypes.data % ALIGNMENT == 0
        # Neither a copy in memory, nor the same memory for both.
        assert isinstance(loaded.base.base if loaded.base.base is not None else loaded.base, memoryview)
        loaded[:] = 7
        assert equal(second[number], value[number])
    assert equal(decode_file(file, "pickle"), value)
    assert equal(pickle.loads((tmp_path / "content").read_bytes()), value)


def test_data_frames_and_tables(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"a": array(), "b": array(kind="float64"), "c": [f"text {number}" for number in range(50_000)]}
    )
    loaded = decode_file(stored(tmp_path / "frame", pickling.dump(frame)), "pickle")
    pd.testing.assert_frame_equal(loaded, frame)
    loaded["a"] += 1
    loaded.loc[0, "b"] = 5.0
    assert loaded["a"][3] == 4 and frame["a"][3] == 3
    table = pa.table({"a": array(), "c": [f"text {number}" for number in range(50_000)]})
    file = stored(tmp_path / "table", pickling.dump(table))
    before = pa.total_allocated_bytes()
    again = decode_file(file, "pickle")
    assert again.equals(table)
    assert pa.total_allocated_bytes() - before < 64 * KIB


def test_pieces_refer_to_what_is_in_the_value() -> None:
    value = (b"x" * LARGE, array())
    pieces = pickling.dump_pieces(value)
    assert any(piece is value[0] for piece in pieces)
    value[1][0] = 17
    assert pickle.loads(b"".join(pieces))[1][0] == 17
    # What is copied is small.
    copied = [len(piece) for piece in pieces if piece is not value[0] and isinstance(piece, bytes)]
    assert sum(copied) < KIB


def test_damaged_pickles_are_errors_as_before(tmp_path: Path) -> None:
    draw = random.Random(5)
    content = pickling.dump([array(), bytes(LARGE), "x"])
    heads = [*range(40), len(content) - LARGE - 200, *range(len(content) - 60, len(content))]
    for number in range(150):
        damaged = bytearray(content)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.choice(heads)] = draw.randrange(256)
        cut = bytes(damaged[: draw.choice([len(damaged), draw.randrange(len(damaged))])])
        file = stored(tmp_path / str(number), cut)
        try:
            expected = pickle.loads(cut)
        except Exception:
            with pytest.raises(Exception):  # noqa: B017, PT011
                decode_file(file, "pickle")
        else:
            assert equal(decode_file(file, "pickle"), expected)
