"""What tasks ask for, as the client checks it."""

from __future__ import annotations

from typing import Any

import pytest

from rain.client.kind import Kind, Limits, check_options
from rain.client.resources import check_resources, cpus_of
from rain.common.errors import UsageError


@pytest.mark.parametrize(
    ("amount", "number"),
    [(1, 1), (0.5, 0.5), (2.0, 2), ("4GiB", 4 << 30), ("1.5 MB", 1_500_000), ("12", 12), ("1k", None), ("64K", 65536)],
)
def test_amounts_are_numbers_or_texts_with_a_unit(amount: Any, number: float | None) -> None:
    if number is None:
        with pytest.raises(UsageError, match="is a number"):
            check_resources({"scratch": amount})
    else:
        assert check_resources({"scratch": amount}) == ((("scratch", number),),)


@pytest.mark.parametrize(
    ("resources", "part"),
    [
        ({"gpus": 0}, "more than nothing"),
        ({"gpus": -1}, "more than nothing"),
        ({"gpus": 0.00001}, "more than nothing"),
        ({"gpus": 1e30}, "Nobody has so much"),
        ({"gpus": float("nan")}, "is a number"),
        ({"gpus": True}, "is a number"),
        ({"gpus": None}, "is a number"),
        ({"gpus": "many"}, "is a number"),
        ({"memory": 0.5}, "whole number of bytes"),
        ({"cpus": 0}, "at least one cpu"),
        ({"cpus": 1.5}, "at least one cpu"),
        ({"my gpu": 1}, "name of a resource"),
        ({1: 1}, "name of a resource"),
        ([], "alternatives"),
        ([{"gpus": 1}] * 17, "alternatives"),
        ("gpus", "is a dictionary"),
        ([1], "is a dictionary"),
        ({f"r{number}": 1 for number in range(65)}, "at most"),
    ],
)
def test_what_cannot_be_is_said(resources: Any, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        check_options({"resources": resources})


def test_cpus_may_be_said_in_either_place_but_not_twice() -> None:
    alternatives = check_resources([{"cpus": 4}, {"gpus": 1}])
    assert (cpus_of(1, alternatives), cpus_of(4, alternatives), cpus_of(3, ())) == (1, 4, 3)
    with pytest.raises(UsageError, match="one number of cpus"):
        cpus_of(2, check_resources({"cpus": 3}))


def test_kinds_say_it_on_the_wire() -> None:
    kind = Kind("a/b", limits=Limits(resources=check_resources({"gpus": 1, "cpus": 2, "memory": "1KiB"})))
    wire = kind.wire()
    assert (wire["cpus"], wire["resources"]) == (2, ((("cpus", 2), ("gpus", 1), ("memory", 1024)),))
    assert kind.resources() == {"cpus": 2, "gpus": 1, "memory": 1024}
    assert "resources" not in Kind("a/b", limits=Limits(retries=1)).wire()


def test_what_others_call_it_is_known() -> None:
    with pytest.raises(UsageError, match="did you mean 'resources'"):
        check_options({"num_gpus": 1})
