"""A real server for the examples."""

import importlib
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROGRAM = Path(os.environ.get("RAIN_BIN", HERE.parent / "target" / "release" / "rain"))
sys.path.insert(0, str(HERE))


def rain(*arguments):
    return subprocess.run([PROGRAM, *arguments], check=True, stdin=subprocess.DEVNULL, timeout=60)


@pytest.fixture(scope="session")
def server():
    """HOST:PORT of a server; it is in the environment too, where the examples look for it."""
    # Not pytest's own directories: the path of a Unix socket has to be short.
    with tempfile.TemporaryDirectory(prefix="rain-examples-") as runtime, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAIN_RUNTIME_DIR", runtime)
        rain("start", "--local-governors=[2]", "--no-pin", "--listen=127.0.0.1:0", f"--logdir={runtime}/logs")
        (directory,) = Path(runtime).glob("server-*")
        port = directory.name.rpartition("-")[2]
        patch.setenv("RAIN_SERVER", f"localhost:{port}")
        try:
            yield os.environ["RAIN_SERVER"]
        finally:
            rain("stop", f"--listen={port}")


@pytest.fixture
def serve_executor():
    """Starts a server with an executor of one's own; the environment of a client that finds it."""

    @contextmanager
    def serve(name, program):
        with tempfile.TemporaryDirectory(prefix="rain-executor-") as runtime:
            config = Path(runtime) / "governor.toml"
            config.write_text(f"[executors.{name}]\ncommand = ['{program}']\n")
            environment = {**os.environ, "RAIN_RUNTIME_DIR": runtime}
            start = [PROGRAM, "start", "--local-governors=[2]", "--no-pin", "--listen=127.0.0.1:0"]
            options = [f"--logdir={runtime}/logs", f"--governor-config={config}"]
            subprocess.run([*start, *options], env=environment, check=True)
            (directory,) = Path(runtime).glob("server-*")
            port = directory.name.rpartition("-")[2]
            try:
                yield {**environment, "RAIN_SERVER": f"localhost:{port}"}
            finally:
                subprocess.run([PROGRAM, "stop", f"--listen={port}"], env=environment, check=True)

    return serve


@pytest.fixture
def example(server):
    """Imports an example by its name, connected to the server."""

    def load(name):
        module = importlib.import_module(name)
        module.SERVER, module.PORT = server.rsplit(":", 1)
        return module

    return load


@pytest.fixture
def run_script(server):
    """Runs an example as a user does; what it prints."""

    def run(name):
        command = [sys.executable, HERE / f"{name}.py"]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    return run
