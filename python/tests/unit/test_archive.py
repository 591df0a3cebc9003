"""Directories as archives: the same as tarfile makes, and nothing leads outside when they are unpacked."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path
from typing import Optional

import pytest

from rain.client import Client, directory
from rain.common import RainException
from rain.common.archive import pack_directory, unpack_directory


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with whatever a directory can have."""
    top = tmp_path / "tree"
    (top / "a" / "deep" / "er").mkdir(parents=True)
    (top / "empty").mkdir(mode=0o711)
    for size in (0, 1, 511, 512, 513, 1023, 3 << 20):
        (top / "a" / f"file-{size}").write_bytes((b"x%d" % size * (size + 1))[:size])
    (top / "a" / "run").write_text("#!")
    (top / "a" / "run").chmod(0o4755)
    (top / "a" / "secret").write_text("")
    (top / "a" / "secret").chmod(0o000 if os.geteuid() == 0 else 0o400)
    (top / "old").write_text("old")
    os.utime(top / "old", (-5, -5))
    os.utime(top / "a" / "run", (2**33, 2**33))
    os.link(top / "a" / "file-1", top / "a" / "deep" / "same")
    os.link(top / "a" / "file-1", top / "z")
    (top / "link").symlink_to("a/run")
    (top / "dangling").symlink_to("a/../nothing")
    (top / "circle").symlink_to("circle")
    (top / "far").symlink_to("a/" + "./" * 60 + "run")
    (top / "příliš žluťoučký").symlink_to("kůň")
    for length in (99, 100, 101, 255):
        (top / "a" / "deep" / ("n" * length)).write_text(str(length))
    long = top / "a" / ("d" * 200) / ("e" * 200)
    long.mkdir(parents=True)
    (long / "file").write_text("far down")
    Path(os.fsdecode(os.fsencode(top) + b"/not-\xff-utf-8")).write_text("bytes")
    Path(os.fsdecode(os.fsencode(top) + b"/to-bytes")).symlink_to(os.fsdecode(b"not-\xff-utf-8"))
    return top


def by_tarfile(path: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(os.listdir(path)):
            archive.add(path / name, arcname=name)
    return buffer.getvalue()


def members(data: bytes) -> list[tuple[object, ...]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return [
            (
                member.name,
                member.type,
                member.mode,
                member.size,
                int(member.mtime),
                member.linkname,
                archive.extractfile(member).read() if member.isreg() else None,  # type: ignore[union-attr]
            )
            for member in archive.getmembers()
        ]


def test_as_tarfile_does_it(tree: Path) -> None:
    packed = pack_directory(str(tree))
    assert pack_directory(str(tree)) == packed
    assert members(packed) == members(by_tarfile(tree))
    assert len(packed) % tarfile.RECORDSIZE == 0


@pytest.mark.skipif(shutil.which("tar") is None, reason="There is no program tar")
def test_as_the_program_tar_reads_it(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-x", "-p", "-C", tmp_path / "out"], input=pack_directory(str(tree)), check=True)
    assert pack_directory(str(tmp_path / "out")) == pack_directory(str(tree))


def test_there_and_back(tree: Path, tmp_path: Path) -> None:
    packed = pack_directory(str(tree))
    out = tmp_path / "out"
    for _ in range(2):
        # The second time everything is there, and is replaced.
        unpack_directory(packed, str(out))
        again = members(pack_directory(str(out)))
        expected = members(packed)
        # What is unpacked can be changed; times of directories are those of the unpacking.
        for there, back in zip(expected, again):
            name, kind, mode, size, mtime, target, content = there
            assert isinstance(mode, int)
            mode |= 0o700 if kind == tarfile.DIRTYPE else 0 if kind == tarfile.SYMTYPE else 0o200
            assert (name, kind, size, target, content) == (*back[:2], back[3], *back[5:])
            assert mode == back[2]
            assert mtime == back[4] or kind in (tarfile.DIRTYPE, tarfile.SYMTYPE)
        assert len(expected) == len(again)
    assert (out / "z").stat().st_ino == (out / "a" / "file-1").stat().st_ino


def test_sockets_are_left_out_and_other_special_files_refused(
    tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "special"
    top.mkdir()
    (top / "file").write_text("x")
    # The path of a socket has to be short.
    monkeypatch.chdir(top)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind("socket")
    assert [member[0] for member in members(pack_directory(str(top)))] == ["file"]
    os.mkfifo(top / "fifo")
    with (
        client.new_session(),
        pytest.raises(RainException, match="'.*/special/fifo' is neither a file, a directory nor"),
    ):
        directory(top)


def test_a_file_that_becomes_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)
    monkeypatch.setattr(os, "read", lambda fd, size: b"x" * 10 if size > 990 else b"")
    with pytest.raises(OSError, match="/file' has become shorter while it was read: 10 of 1000 bytes"):
        pack_directory(str(tmp_path))


Member = tuple[str, bytes, Optional[str]]
DIR, LINK, HARD, FILE = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.REGTYPE


def archive_of(*made: Member) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, target in made:
            member = tarfile.TarInfo(name)
            member.type = kind
            content = b""
            if kind in (LINK, HARD):
                member.linkname = target or ""
            elif kind == FILE:
                content = (target or "").encode()
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


INSIDE_LINK: Member = ("in", LINK, "d")
LEAVING: dict[str, tuple[Member, ...]] = {
    "name": (("../x", FILE, "bad"),),
    "absolute name": (("/x", FILE, "bad"),),
    "name through a directory": (("a/../../x", FILE, "bad"),),
    "link": (("x", LINK, "../y"),),
    "absolute link": (("x", LINK, "/etc/passwd"),),
    "absolute link through another one": (("y", LINK, "/"), ("x", LINK, "y/etc/passwd")),
    "link through links": (
        ("d", DIR, None),
        ("d/e", DIR, None),
        ("d/e/s", LINK, "../.."),
        ("t", LINK, "d/e/s/../.."),
        ("t/evil", FILE, "bad"),
    ),
    "links in the other order": (("t", LINK, "d/e/s/../.."), ("d/e/s", LINK, "../.."), ("t/evil", FILE, "bad")),
    "link through a chain": (("d/a", LINK, "../b"), ("b", LINK, "c"), ("c", LINK, "."), ("x", LINK, "d/a/../y")),
    "hard link": (("x", HARD, "../y"),),
    "absolute hard link": (("x", HARD, "/etc/passwd"),),
}
THROUGH: dict[str, tuple[Member, ...]] = {
    "file": (("d", DIR, None), INSIDE_LINK, ("in/x", FILE, "x")),
    "directory": (("d", DIR, None), INSIDE_LINK, ("in/x", DIR, None)),
    "link": (("d", DIR, None), INSIDE_LINK, ("in/x", LINK, "y")),
    "hard link": (("d", DIR, None), ("d/y", FILE, ""), INSIDE_LINK, ("x", HARD, "in/y")),
    "directory over a link": (("d", DIR, None), INSIDE_LINK, ("in", DIR, None)),
    "into a file": (("f", FILE, ""), ("f/x", FILE, "")),
}


@pytest.mark.parametrize("made", LEAVING.values(), ids=LEAVING)
def test_archives_that_lead_outside(tmp_path: Path, made: tuple[Member, ...]) -> None:
    out = tmp_path / "all" / "out"
    with pytest.raises(RainException, match="leaves it"):
        unpack_directory(archive_of(*made), str(out))
    # They are refused whole.
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("made", THROUGH.values(), ids=THROUGH)
def test_nothing_is_written_through_links(tmp_path: Path, made: tuple[Member, ...]) -> None:
    with pytest.raises(RainException, match="which is no directory but a link or file"):
        unpack_directory(archive_of(*made), str(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) in (["d", "in"], ["d", "in", "y"], ["f"])


def test_links_that_were_there_before(tmp_path: Path) -> None:
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    out.mkdir()
    (outside / "file").write_text("mine")
    (out / "dir").symlink_to(outside)
    (out / "file").symlink_to(outside / "file")
    (tmp_path / "alias").symlink_to(out)
    # Where the directory itself is reached through a link, that is the user's own choice.
    unpack_directory(archive_of(("file", FILE, "new")), str(tmp_path / "alias"))
    assert (out / "file").read_text() == "new" and not (out / "file").is_symlink()
    with pytest.raises(RainException, match="no directory but a link"):
        unpack_directory(archive_of(("dir/file", FILE, "new")), str(out))
    assert (outside / "file").read_text() == "mine"


def test_links_that_stay_inside(tmp_path: Path) -> None:
    made: tuple[Member, ...] = (
        ("d/e", DIR, None),
        ("d/up", LINK, ".."),
        ("d/e/over", LINK, "../../d/up/f"),
        ("nowhere", LINK, "d/nothing/../here"),
        ("circle", LINK, "round"),
        ("round", LINK, "circle"),
        ("./f", FILE, "content"),
        ("g", HARD, "./f"),
    )
    unpack_directory(archive_of(*made), str(tmp_path / "out"))
    assert (tmp_path / "out" / "d" / "e" / "over").read_text() == (tmp_path / "out" / "g").read_text() == "content"
    assert os.readlink(tmp_path / "out" / "circle") == "round"


def test_no_archive_of_a_directory(tmp_path: Path) -> None:
    with pytest.raises(RainException, match="special file: 'x'"):
        unpack_directory(archive_of(("x", tarfile.FIFOTYPE, None)), str(tmp_path / "out"))
    with pytest.raises(RainException, match="cannot be read"):
        unpack_directory(b"no archive at all, but long enough for one" * 50, str(tmp_path / "out"))
    whole = archive_of(("x", FILE, "y" * 5000))
    with pytest.raises(RainException, match="cannot be read|in the middle of 'x'"):
        unpack_directory(whole[:2048], str(tmp_path / "out"))


@pytest.mark.skipif(shutil.which("tar") is None, reason="There is no program tar")
def test_sparse_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "sparse", "wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    packed = subprocess.run(["tar", "-c", "-S", "-C", source, "sparse"], stdout=subprocess.PIPE, check=True).stdout
    assert len(packed) < 1 << 20
    unpack_directory(packed, str(tmp_path / "out"))
    assert (tmp_path / "out" / "sparse").read_bytes() == bytes(1 << 20) + b"end"


def test_absolute_links_into_the_directory_become_relative(tmp_path: Path) -> None:
    tree, other = tmp_path / "tree", tmp_path / "other"
    (tree / "sub").mkdir(parents=True)
    (tree / "a").write_text("x")
    other.symlink_to(tree)
    links = {"b": "a", "sub/up": "../a", "sub/root": "../", "itself": ".", "none": "nothing"}
    for name in links:
        target = {"sub/root": "", "itself": "", "none": "nothing"}.get(name, "a")
        (tree / name).symlink_to(tree / target)
    for path in (tree, other):
        (tmp_path / "out").mkdir()
        with tarfile.open(fileobj=io.BytesIO(pack_directory(str(path)))) as archive:
            found = {member.name: member.linkname for member in archive if member.issym()}
        assert found == links
        unpack_directory(pack_directory(str(path)), str(tmp_path / "out"))
        assert (tmp_path / "out" / "sub" / "root" / "itself" / "b").read_text() == "x"
        shutil.rmtree(tmp_path / "out")
    (tree / "b").unlink()
    (tree / "b").symlink_to(f"{tree}/../secret")
    with pytest.raises(RainException, match="leaves it: 'b'"):
        unpack_directory(pack_directory(str(tree)), str(tmp_path / "out"))
