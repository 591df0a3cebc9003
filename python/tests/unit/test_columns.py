"""Columns are little-endian on every machine."""

from __future__ import annotations

import sys

import pytest

from rain.common.columns import from_column, to_column


def test_columns() -> None:
    assert to_column([1, 0x01020304]) == b"\1\0\0\0\4\3\2\1"
    assert list(from_column(b"\1\0\0\0\4\3\2\1")) == [1, 0x01020304]
    assert to_column(range(0)) == b"" and list(from_column(b"")) == []


def test_bytes_are_swapped_where_the_machine_has_them_the_other_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    other = "big" if sys.byteorder == "little" else "little"
    monkeypatch.setattr("sys.byteorder", other)
    assert to_column([1]) == b"\0\0\0\1"
    assert list(from_column(b"\0\0\0\1")) == [1]
