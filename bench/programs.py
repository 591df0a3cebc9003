"""External programs: `Execute("/bin/true")` many times, against `xargs -P2 -n1 /bin/true` with as many arguments.

Both run in turn, so that both see the same machine; the ratio is that of their medians. Rain's time is build + submit +
run + wait_all. xargs gives each program an argument and nothing else; Rain gives each its own empty working directory.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator

from measure import Row, Server, Size, row, running_server, seconds
from rain.client import tasks


def with_xargs(count: int) -> None:
    arguments = "\n".join(map(str, range(count)))
    subprocess.run(["xargs", "-P2", "-n1", "/bin/true"], input=arguments, text=True, check=True)


def with_rain(server: Server, count: int) -> None:
    with server.client() as client, client.new_session("programs") as session:
        for _ in range(count):
            tasks.Execute("/bin/true")
        session.submit()
        session.wait_all()


def measure(size: Size) -> Iterator[Row]:
    """The ratio, and both times."""
    count = size.of(2000, 50)
    xargs_times, rain_times = [], []
    with running_server() as server:
        with_rain(server, 20)
        for _ in range(size.runs):
            xargs_times.append(seconds(lambda: with_xargs(count)) / count * 1e6)
            rain_times.append(seconds(lambda: with_rain(server, count)) / count * 1e6)
    ratio = statistics.median(rain_times) / statistics.median(xargs_times)
    each = [rain / xargs for rain, xargs in zip(rain_times, xargs_times)]
    yield Row(f'Execute("/bin/true") × {count:,} against xargs -P2', ratio, "×", 1.25, each)
    yield row(f'Execute("/bin/true") × {count:,}', "µs/program", None, rain_times)
    yield row(f"xargs -P2 -n1 /bin/true × {count:,}", "µs/program", None, xargs_times)
