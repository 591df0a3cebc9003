"""What does Python's standard library import most? External programs over directories of source files.

Every package becomes a directory object; grep, sort, uniq, wc and sha256sum run on each; the results are gathered in
one directory, and awk adds up a part of it. A server must run (`rain start --simple`) on a machine with this Python;
its address may be given in RAIN_SERVER.
"""

import os
import sysconfig
from pathlib import Path

from rain.client import Client, InputDir, Program, tasks

SERVER, PORT = os.environ.get("RAIN_SERVER", "localhost:7210").rsplit(":", 1)
LIBRARY = Path(sysconfig.get_path("stdlib"))
PACKAGES = ("asyncio", "concurrent", "email", "http", "json", "logging", "multiprocessing", "unittest", "urllib", "xml")
SHOWN = 10

IMPORTS = r"""
    grep -rhoE '^(import|from) [a-zA-Z_]+' --include='*.py' package | awk '{print $2}' | LC_ALL=C sort | uniq -c
"""
LINES = "find package/ -name '*.py' -type f -exec cat {} + | wc -l"
CHECKSUMS = "cd package && find . -name '*.py' -type f | LC_ALL=C sort | xargs sha256sum"
TOTAL = r"""
    cat imports/*.txt | awk '{count[$2] += $1} END {for (name in count) print count[name], name}' |
    LC_ALL=C sort -k1,1nr -k2
"""


def on_package(command):
    """A shell command as a program that works on the directory `package`."""
    return Program(command, shell=True, input_paths=[InputDir("package")], stdout=True)


def census(packages):
    """Lines of each package, the imports of all, and a directory with everything that was found."""
    count_imports, count_lines, checksums = on_package(IMPORTS), on_package(LINES), on_package(CHECKSUMS)

    with Client(SERVER, int(PORT)) as client, client.new_session("import census") as session:
        found = []
        for name in packages:
            sources = tasks.LoadDir(str(LIBRARY / name))
            found.append((f"imports/{name}.txt", count_imports(package=sources)))
            found.append((f"lines/{name}.txt", count_lines(package=sources)))
            found.append((f"checksums/{name}.txt", checksums(package=sources)))
        report = tasks.MakeDirectory(found)

        # One part of the directory goes to the program that adds up, another one comes back as a file
        imports = tasks.SliceDirectory(report, "imports/")
        total = tasks.Execute(TOTAL, shell=True, input_paths=[InputDir("imports", dataobj=imports)], stdout=True)
        lines = {name: tasks.SliceDirectory(report, f"lines/{name}.txt") for name in packages}

        for task in (report, total, *lines.values()):
            task.output.keep()
        session.submit()

        ranking = [line.split() for line in total.output.fetch().get_str().splitlines()]
        return (
            {name: int(task.output.fetch().get_str()) for name, task in lines.items()},
            [(name, int(count)) for count, name in ranking],
            report.output.fetch(),
        )


def main():
    lines, imports, report = census(PACKAGES)
    for name, count in lines.items():
        print(f"{name:<16} {count:>6} lines")
    print("imported most:", ", ".join(f"{name} ({count})" for name, count in imports[:SHOWN]))
    print(f"report: a directory of {report.size} bytes as tar")


if __name__ == "__main__":
    main()
