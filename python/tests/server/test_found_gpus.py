"""GPUs that governors find, with a library that stands in for NVIDIA's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from real_server import running_server

from rain.client import Client, tasks

SOURCE = Path(__file__).parents[1] / "made_up_nvml.c"
SHOW = "echo $CUDA_VISIBLE_DEVICES/$CUDA_DEVICE_ORDER"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is where programs of this process find it, and nothing else says which GPUs there are."""
    command = ["cc", "-shared", "-fPIC", "-o", str(tmp_path / "libnvidia-ml.so.1"), str(SOURCE)]
    subprocess.run(command, check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


def found(*options: str) -> tuple[list[str], list[str]]:
    """The labels of the GPUs that a server shows, and what tasks are told that ask for none and for one."""
    with running_server("--simple", *options) as server, Client("127.0.0.1", server.port) as client:
        (governor,) = client.status()["governors"]
        labels = governor["resources"].get("gpus", {}).get("labels", [])
        assert governor["resources"]["memory"]["total"] > 1 << 20
        told = []
        for resources in [None, {"gpus": 1}] if labels else [None]:
            with client.new_session() as session:
                task = tasks.Execute(SHOW, shell=True, stdout=True, resources=resources)
                task.output.keep()
                session.submit()
                told.append(task.output.fetch().get_bytes().decode().strip())
        return labels, told


@pytest.mark.usefixtures("library")
def test_gpus_are_found_and_given_by_number() -> None:
    assert found() == (["0", "1"], ["/", "0/PCI_BUS_ID"])


@pytest.mark.usefixtures("library")
def test_what_the_governor_does_not_see_its_tasks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b2")
    assert found() == (["GPU-b2"], ["/", "GPU-b2/"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,7,0")
    assert found() == (["1"], ["/", "1/"])
    assert found("--gpus=none") == ([], ["1,7,0/"])
