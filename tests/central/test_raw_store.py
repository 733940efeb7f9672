"""Raw captures arrive whole or not at all, in a folder and in a service that speaks S3."""

import hashlib

import pytest
from minio import Minio
from moto.server import ThreadedMotoServer

from edge_daemon.central import raw_store
from edge_daemon.central.raw_store import Arrivals, DigestError, FolderStore, S3Store
from edge_daemon.errors import EdgeError, Retryable

DATA = bytes(range(256)) * 40
NAME = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def s3():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    if request.param == "folder":
        return FolderStore(tmp_path / "raw")
    address = request.getfixturevalue("s3")
    return S3Store(Minio(address, "key", "secret", secure=False, region="us-east-1"), "captures")


@pytest.fixture
def arrivals(store, tmp_path):
    return Arrivals(tmp_path / "arriving", store, max_bytes=len(DATA))


def test_parts_make_the_whole(arrivals, store):
    half = len(DATA) // 2
    assert not arrivals.add("box", NAME, 0, len(DATA), DATA[:half])
    assert arrivals.offset("box", NAME) == half
    assert arrivals.offset("other", NAME) == 0
    assert arrivals.add("box", NAME, half, len(DATA), DATA[half:])
    assert store.get(NAME) == DATA
    assert arrivals.offset("box", NAME) == 0
    assert arrivals.add("other", NAME, 0, len(DATA), DATA)  # from another box, no harm


def test_what_could_not_be_kept_when_it_was_whole_is_kept_later(arrivals, store, monkeypatch):
    half = len(DATA) // 2
    arrivals.add("box", NAME, 0, len(DATA), DATA[:half])
    assert arrivals.finish("box", NAME) is None
    with monkeypatch.context() as away:
        away.setattr(type(store), "put", lambda *_: (_ for _ in ()).throw(OSError("away")))
        with pytest.raises(OSError, match="away"):
            arrivals.add("box", NAME, half, len(DATA), DATA[half:])
    assert arrivals.offset("box", NAME) == len(DATA)
    assert arrivals.finish("box", NAME) == len(DATA)
    assert store.get(NAME) == DATA
    assert arrivals.finish("box", NAME) is None


def test_a_capture_lies_in_a_folder_whose_own_name_is_durable(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(raw_store, "_sync", synced.append)
    source = tmp_path / "part"
    source.write_bytes(DATA)
    FolderStore(tmp_path / "raw").put(NAME, source)
    assert synced == [tmp_path / "raw", tmp_path / "raw" / NAME[:2]]


def test_a_part_that_leaves_a_gap_is_refused(arrivals):
    arrivals.add("box", NAME, 0, len(DATA), DATA[:100])
    with pytest.raises(Retryable, match="100 bytes have arrived"):
        arrivals.add("box", NAME, 200, len(DATA), DATA[200:])
    assert arrivals.offset("box", NAME) == 100


def test_bytes_that_are_not_the_named_ones_are_thrown_away(arrivals):
    with pytest.raises(DigestError):
        arrivals.add("box", NAME, 0, len(DATA), DATA[::-1])
    assert arrivals.offset("box", NAME) == 0


def test_a_capture_over_the_limit_is_refused_before_it_is_kept(arrivals):
    with pytest.raises(EdgeError, match="at most"):
        arrivals.add("box", NAME, 0, len(DATA) + 1, DATA)
    assert arrivals.offset("box", NAME) == 0


def test_a_capture_that_is_not_there_is_said_alike_by_both(store):
    with pytest.raises(FileNotFoundError):
        store.get("0" * 64)
