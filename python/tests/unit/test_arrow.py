"""What is encoded as "arrow" is loaded as it was. These tests need pyarrow and pandas, which the other tests do not."""

from __future__ import annotations

from typing import Any

import pytest

from rain.common import RainException
from rain.common.content_type import decode_value, encode_value

arrow = pytest.importorskip("pyarrow")
np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")


def there_and_back(value: Any) -> Any:
    return decode_value(memoryview(encode_value(value, "arrow")), "arrow")


def test_tables() -> None:
    table = arrow.table({"a": [1, 2, None], "b": ["x", "y", "z"]}).replace_schema_metadata({b"mine": b"kept"})
    for made in (table, table.slice(0, 0), arrow.concat_tables([table, table])):
        back = there_and_back(made)
        assert type(back) is arrow.Table and back.equals(made, check_metadata=True)
    # A dictionary of columns says what table is meant.
    assert there_and_back({"a": [1, 2]}).equals(arrow.table({"a": [1, 2]}))


def test_record_batches() -> None:
    batch = arrow.record_batch({"a": [1, 2, None], "b": ["x", "y", "z"]})
    for made in (batch, batch.slice(0, 0)):
        back = there_and_back(made)
        assert type(back) is arrow.RecordBatch and back.equals(made, check_metadata=True)


FRAMES = [
    pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"])}),
    pd.DataFrame({"a": [1.5, float("nan")]}, index=["first", "second"]),
    pd.DataFrame({"t": pd.date_range("2026-01-01", periods=2, tz="Europe/Prague")}, index=pd.Index([5, 7], name="n")),
    pd.DataFrame({("a", 1): [1], ("b", 2): [2]}),
    pd.DataFrame({"a": pd.Series([], dtype="float32")}),
]


@pytest.mark.parametrize("frame", FRAMES, ids=range(len(FRAMES)))
def test_data_frames(frame: Any) -> None:
    back = there_and_back(frame)
    assert type(back) is pd.DataFrame
    pd.testing.assert_frame_equal(back, frame)


@pytest.mark.parametrize("name", [None, "name", 7, ""])
def test_series(name: Any) -> None:
    series = pd.Series([1, 2, 3], index=["a", "b", "c"], dtype="int16", name=name)
    back = there_and_back(series)
    assert type(back) is pd.Series
    pd.testing.assert_series_equal(back, series)


ARRAYS = [
    np.arange(24, dtype="int16").reshape(2, 3, 4),
    np.arange(24).reshape(4, 6)[::2, ::-3],
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([1.5, float("nan"), float("inf")], dtype="float32"),
    np.array(3.25),
    np.zeros((0, 5)),
    np.array([True, False]),
    np.array(["a", "čč", ""]),
    np.array([b"a", b"bcd"]),
    np.array(["2026-01-01", "NaT"], dtype="datetime64[D]"),
    np.array([1, 2], dtype="timedelta64[ms]"),
    np.array([1, 258], dtype=">u4"),
    np.array([1.5, -2], dtype="float16"),
]


@pytest.mark.parametrize("array", ARRAYS, ids=[f"{array.dtype}{array.shape}" for array in ARRAYS])
def test_arrays(array: Any) -> None:
    back = there_and_back(array)
    assert type(back) is np.ndarray
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)
    back[...] = back


BAD = [
    np.array([1, None], dtype=object),
    np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
    np.array([1j]),
    np.ma.masked_array([1, 2], mask=[True, False]),
    pd.DataFrame({"a": [1, "mixed"]}),
    [1, 2],
    3,
    arrow.array([1, 2]),
]


@pytest.mark.parametrize("value", BAD, ids=[f"{number}-{type(value).__name__}" for number, value in enumerate(BAD)])
def test_what_would_not_come_back_is_refused(value: Any) -> None:
    with pytest.raises(RainException, match="cannot be encoded as 'arrow'"):
        encode_value(value, "arrow")
