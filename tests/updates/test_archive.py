"""The archive of an update: what is not written by us is not read."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.errors import EdgeError
from edge_daemon.updates import archive


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for info, data in members:
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_the_same_files_give_the_same_bytes():
    files = {"b/2.toml": b"two", "a.toml": b"one", "b/sample [x^1] (2).fcs": b"\0\1"}
    assert archive.pack(files) == archive.pack(dict(reversed(files.items())))
    assert archive.unpack(archive.pack(files)) == files


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "a/b/c", "..", ".x", "a/..", "x\n", ""]
)
def test_names_that_leave_the_folder_are_refused(name):
    with pytest.raises(EdgeError):
        archive.unpack(tar((tarfile.TarInfo(name), b"x")))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_are_refused(kind):
    info = tarfile.TarInfo("x")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(EdgeError):
        archive.unpack(tar((info, b"")))


def test_more_than_an_update_may_hold_is_refused():
    many = [(tarfile.TarInfo(f"f{n}"), b"") for n in range(archive.MAX_FILES + 1)]
    with pytest.raises(EdgeError, match="more than"):
        archive.unpack(tar(*many))
    with pytest.raises(EdgeError, match="twice"):
        archive.unpack(tar((tarfile.TarInfo("x"), b"1"), (tarfile.TarInfo("x"), b"2")))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_archives_give_our_error_or_the_files(data):
    whole = bytearray(archive.pack({"a.toml": b"x" * 700, "b/c": b"y"}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for damaged in (bytes(whole), bytes(whole[:cut])):
        try:
            files = archive.unpack(damaged)
        except EdgeError:
            continue
        assert all(name and not name.startswith(("/", ".")) for name in files)
