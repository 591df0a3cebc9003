"""Labelled lists, content types, data instances and archives."""

from __future__ import annotations

import copy
import io
import pickle
import tarfile
from pathlib import Path

import pytest

from rain.common import ID, DataInstance, DataType, LabeledList, RainException, content_type
from rain.common.archive import pack_directory, unpack_directory


def test_labeled_list() -> None:
    items = LabeledList([1, 2, 3], ["a", None, "c"])
    assert isinstance(items, list)
    assert (items["a"], items[1], items["c"], len(items)) == (1, 2, 3, 3)
    assert items[1:].labels == (None, "c")
    assert list(items.items()) == [("a", 1), (None, 2), ("c", 3)]
    assert (items + items).labels == ("a", None, "c", None, None, None)
    assert (items + [4]).labels[3] is None
    items.append(4, "d")
    items.extend([5])
    assert (items["d"], items.pop(), items.get_label(0)) == (4, 5, "a")
    items.sort(reverse=True)
    assert (list(items), items["a"]) == ([4, 3, 2, 1], 1)
    items.reverse()
    del items["a"]
    items["c"] = 7
    assert items.labels == (None, "c", "d")
    for clone in (pickle.loads(pickle.dumps(items)), copy.copy(items), items.copy()):
        assert clone == items and clone.labels == items.labels
    assert LabeledList(pairs=[("x", 1)])["x"] == 1
    assert repr(LabeledList([1], ["x"])) == "LabeledList([x=1])"
    with pytest.raises(KeyError, match="'zz'"):
        items["zz"]
    with pytest.raises(ValueError, match="'a' is used twice"):
        LabeledList([1, 2], ["a", "a"])


@pytest.mark.parametrize("name", ["pickle", "cloudpickle", "json"])
def test_content_types_there_and_back(name: str) -> None:
    value = {"a": [1, 2.5, None, "č"]}
    assert content_type.decode_value(content_type.encode_value(value, name), name) == value


def test_text() -> None:
    assert content_type.decode_value(b"\xe8", "text-iso8859-2") == "č"
    with pytest.raises(RainException, match="cannot be loaded"):
        content_type.decode_value(b"\xff", "text")
    with pytest.raises(RainException, match="without a content type"):
        content_type.decode_value(b"", None)


def test_merging_content_types() -> None:
    assert content_type.merge_content_types(None, "json") == "json"
    assert content_type.merge_content_types("json", None) == "json"
    with pytest.raises(RainException, match="not a sub-type"):
        content_type.merge_content_types("json", "pickle")


def test_data_instance(tmp_path: Path) -> None:
    instance = DataInstance(b"[1]", content_type="json", id=ID(1, 2))
    assert (instance.get_str(), instance.load(), instance.size) == ("[1]", [1], 3)
    assert instance.spec.id == (1, 2)
    instance.write(tmp_path / "x")
    instance.link(tmp_path / "y")
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes() == b"[1]"
    assert pickle.loads(pickle.dumps(instance)).load() == [1]


def test_directories(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a" / "b").mkdir(parents=True)
    (source / "a" / "run").write_text("#!")
    (source / "a" / "run").chmod(0o555)
    (source / "link").symlink_to("a/run")
    packed = pack_directory(str(source))
    assert pack_directory(str(source)) == packed
    instance = DataInstance(packed, data_type=DataType.DIRECTORY)
    assert instance.get_bytes() == packed
    instance.write(tmp_path / "copy")
    assert (tmp_path / "copy" / "a" / "b").is_dir()
    assert (tmp_path / "copy" / "a" / "run").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "copy" / "link").read_text() == "#!"
    with pytest.raises(RainException, match="cannot be loaded"):
        instance.load()


@pytest.mark.parametrize(
    ("name", "link"), [("../x", None), ("/x", None), ("a/../../x", None), ("x", "../y"), ("x", "/etc/passwd")]
)
def test_archives_that_leave(tmp_path: Path, name: str, link: str | None) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        if link is not None:
            member.type, member.linkname = tarfile.SYMTYPE, link
        archive.addfile(member)
    with pytest.raises(RainException, match="leaves it"):
        unpack_directory(buffer.getvalue(), str(tmp_path / "out"))
