"""Source lines of functions that travelled by value, so that tracebacks show them wherever the function runs."""

from __future__ import annotations

import linecache
from collections import OrderedDict

# So much text is remembered; the files that were named first go first.
TEXT_BYTES = 8 << 20
# A larger number is not that of a line.
LAST_LINE = 1 << 20

# Bytes of text by the name of the file.
_remembered: OrderedDict[str, int] = OrderedDict()


def remember(sources: list[tuple[str, int, str]]) -> None:
    """Have tracebacks show these lines.

    Args:
        sources: The name of a file, the number of the first line, and the text, of each function.
    """
    for filename, first, text in sources:
        known = linecache.cache.get(filename) if filename in _remembered else None
        lines = list(known[2]) if known is not None and len(known) == 4 else []
        new = text.splitlines(keepends=True)
        last = first - 1 + len(new)
        if not 0 < first <= last <= LAST_LINE:
            continue
        lines += ["\n"] * (last - len(lines))
        lines[first - 1 : last] = new
        # Without a time of its last change, the entry stays as it is.
        linecache.cache[filename] = len(text), None, lines, filename
        _remembered[filename] = sum(map(len, lines))
        _remembered.move_to_end(filename)
    while sum(_remembered.values()) > TEXT_BYTES:
        filename, _ = _remembered.popitem(last=False)
        linecache.cache.pop(filename, None)
