"""Values as Arrow IPC streams, with a note in the metadata of the schema of what they were, to make the same again."""

from __future__ import annotations

import json
import sys
from typing import Any

from .errors import RainException

# The key in the metadata; other programs ignore it.
_MADE_FROM = b"rain.made_from"


def encode_arrow(arrow: Any, value: Any) -> bytes:
    """The stream for a value; `arrow` is the module pyarrow."""
    table, made_from = _as_table(arrow, value)
    if made_from is not None:
        metadata = {**(table.schema.metadata or {}), _MADE_FROM: json.dumps(made_from).encode()}
        table = table.replace_schema_metadata(metadata)
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def decode_arrow(arrow: Any, data: Any) -> Any:
    """The value in a stream: a Table, or what the table was made from."""
    table = arrow.ipc.open_stream(data).read_all()
    metadata = dict(table.schema.metadata or {})
    made_from = json.loads(metadata.pop(_MADE_FROM, b"null"))
    if made_from is None:
        return table
    table = table.replace_schema_metadata(metadata or None)
    kind = made_from["type"]
    if kind == "RecordBatch":
        columns = [column.combine_chunks() for column in table.columns]
        return arrow.RecordBatch.from_arrays(columns, schema=table.schema)
    if kind == "DataFrame":
        return table.to_pandas()
    if kind == "Series":
        series = table.to_pandas().iloc[:, 0]
        return series if made_from["named"] else series.rename(None)
    if kind == "ndarray":
        values = table.column(0).to_numpy().astype(made_from["dtype"], copy=False).reshape(made_from["shape"])
        # As after the other encodings, it can be changed.
        return values if values.flags.writeable else values.copy()
    raise RainException(f"An Arrow stream that was made from a {kind} cannot be loaded by this version of Rain")


def _as_table(arrow: Any, value: Any) -> tuple[Any, dict[str, Any] | None]:
    """A table, and what to remember of what it was made from."""
    if isinstance(value, arrow.Table):
        return value, None
    if isinstance(value, dict):
        return arrow.table(value), None
    if isinstance(value, arrow.RecordBatch):
        return arrow.Table.from_batches([value]), {"type": "RecordBatch"}
    pandas, numpy = sys.modules.get("pandas"), sys.modules.get("numpy")
    if pandas is not None and type(value) is pandas.DataFrame:
        return arrow.Table.from_pandas(value), {"type": "DataFrame"}
    if pandas is not None and type(value) is pandas.Series:
        named = value.name is not None
        frame = value.to_frame() if named else value.to_frame("values")
        return arrow.Table.from_pandas(frame), {"type": "Series", "named": named}
    if numpy is not None and type(value) is numpy.ndarray:
        if value.dtype.hasobject or value.dtype.names is not None:
            raise RainException(f"An array of {value.dtype} cannot be encoded as 'arrow'; use 'pickle'")
        # Arrow knows only the byte order of the machine.
        values = value.ravel().astype(value.dtype.newbyteorder("="), copy=False)
        column = arrow.array(values)
        made_from = {"type": "ndarray", "dtype": value.dtype.str, "shape": value.shape}
        return arrow.table({"values": column}), made_from
    raise RainException(
        f"A {type(value).__name__} cannot be encoded as 'arrow', but a Table or RecordBatch, a dictionary of columns, "
        "a DataFrame, a Series or an ndarray can"
    )
