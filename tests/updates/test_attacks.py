"""Every attack of the TUF specification, through the client that boxes use."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from edge_daemon.errors import EdgeError
from edge_daemon.sync.http import Server
from edge_daemon.updates.errors import UpdateError
from edge_daemon.updates.fetching import FolderFetcher, HttpFetcher
from edge_daemon.updates.trust import Trust

DOG = "intervals/dog"

pytestmark = pytest.mark.usefixtures("proved_here")


def in_use(desk):
    slot = desk.folder.read().slot(DOG)
    return None if slot.active is None else slot.active.version


def refused(look, code, *args):
    with pytest.raises(UpdateError) as caught:
        look(*args)
    assert caught.value.code == code
    assert caught.value.action
    return caught.value.message


def test_what_is_rightly_signed_is_taken(look, trusting):
    found = look()
    assert not found.refused, found
    assert found.taken == {f"{DOG}@1.0.0": "proved and in use"}
    assert in_use(trusting) == "1.0.0"
    assert look().taken == {}


def test_rollback_to_an_older_state_is_refused(look, trusting, signed, tmp_path):
    shutil.copytree(tmp_path / "stick", tmp_path / "old")
    signed.add_table("1.1.0")
    signed.publish()
    look()
    refused(look, "not_trusted", tmp_path / "old")
    assert in_use(trusting) == "1.1.0"


def test_rollback_survives_a_new_start_of_the_client(look, trusting, signed, tmp_path, box):
    """What was seen lies on the disk, not in memory."""
    shutil.copytree(tmp_path / "stick", tmp_path / "old")
    signed.repository.renew(signed.all)
    signed.repository.copy_to(tmp_path / "stick")
    look()
    with pytest.raises(UpdateError) as caught:
        Trust(trusting.folder.trust).look(FolderFetcher(tmp_path / "old"), box / "x")
    assert caught.value.code == "not_trusted"


def test_freeze_ends_when_the_timestamp_runs_out(desk, old_signed, tmp_path):
    old_signed.add_table("1.0.0")
    place = old_signed.publish()
    desk.trust.begin(old_signed.root)
    with pytest.raises(UpdateError) as caught:
        desk.look(FolderFetcher(place))
    assert caught.value.code == "expired"
    assert in_use(desk) is None
    old_signed.at(datetime.now(UTC))
    old_signed.repository.rotate("root", threshold=2)
    signer = old_signed.signers["root"]
    old_signed.repository.sign(signer)
    old_signed.add_table("1.1.0")
    old_signed.publish()
    assert desk.look(FolderFetcher(place)).taken
    assert desk.folder.read().checked["code"] == ""


def test_mix_and_match_of_two_states_is_refused(look, trusting, signed, tmp_path):
    """The newest snapshot with targets of an earlier one, each rightly signed."""
    look()
    stick = tmp_path / "stick"
    old = (stick / "metadata" / "1.targets.json").read_bytes()
    signed.add_table("1.1.0")
    signed.publish()
    (stick / "metadata" / "2.targets.json").write_bytes(old)
    refused(look, "not_trusted")
    assert in_use(trusting) == "1.0.0"


def test_an_old_snapshot_under_the_new_number_is_refused(look, trusting, signed, tmp_path):
    look()
    stick = tmp_path / "stick"
    old = (stick / "metadata" / "1.snapshot.json").read_bytes()
    signed.add_table("1.1.0")
    signed.publish()
    (stick / "metadata" / "2.snapshot.json").write_bytes(old)
    refused(look, "not_trusted")
    assert in_use(trusting) == "1.0.0"


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "root"])
def test_wrong_keys_are_refused(look, trusting, signed, tmp_path, role):
    """Every signature of a role is made by keys that the root does not name."""
    look()
    if role == "root":
        signed.repository.rotate("root", threshold=2)
    signed.add_table("1.1.0")
    signed.publish()
    name = {"timestamp": "timestamp", "root": "2.root"}.get(role, f"2.{role}")
    path = tmp_path / "stick" / "metadata" / f"{name}.json"
    forged = Metadata.from_file(str(path))
    forged.signatures.clear()
    for _ in range(2):
        forged.sign(CryptoSigner.generate_ed25519(), append=True)
    forged.to_file(str(path))
    refused(look, "not_trusted")
    assert in_use(trusting) == "1.0.0"


@pytest.mark.parametrize("role", ["targets", "root"])
def test_too_few_signatures_are_refused(look, trusting, signed, tmp_path, role):
    look()
    if role == "root":
        signed.repository.rotate("root", threshold=2)
    signed.add_table("1.1.0")
    signed.publish()
    path = tmp_path / "stick" / "metadata" / f"2.{role}.json"
    one = json.loads(path.read_text())
    one["signatures"] = [one["signatures"][0], one["signatures"][0]]  # twice the same is once
    path.write_text(json.dumps(one))
    refused(look, "not_trusted")
    assert in_use(trusting) == "1.0.0"


def test_the_release_side_does_not_publish_too_few_signatures(signed):
    signed.add_table("1.0.0")
    signed.repository.sign([signed.signers["root"][0], signed.signers["targets"][0]])
    with pytest.raises(EdgeError, match="lacks signatures: 1 of 2"):
        signed.repository.publish(signed.all)


def test_an_arbitrary_target_is_refused(look, trusting, signed, tmp_path):
    look()
    signed.add_table("1.1.0")
    signed.publish()
    for path in (tmp_path / "stick" / "targets").rglob("*1.1.0.tar"):
        data = bytearray(path.read_bytes())
        data[600] ^= 1
        path.write_bytes(bytes(data))
    assert "believed" in refused(look, "not_trusted")
    assert in_use(trusting) == "1.0.0"
    assert not [*trusting.folder.incoming.glob("*.tar")]


def test_a_rotated_root_is_followed_and_the_old_key_means_nothing(look, trusting, signed):
    look()
    lost = signed.signers["targets"][0]
    fresh = CryptoSigner.generate_ed25519()
    signed.repository.rotate("targets", add=[fresh.public_key], remove=[lost.public_key.keyid[:16]])
    signed.signers["targets"][0] = fresh
    signed.add_table("1.1.0")
    signed.publish()
    assert look().taken
    # Whoever has the lost key and one that is still good has one signature of two.
    signed.add_table("1.2.0")
    signed.repository.sign([lost, signed.signers["targets"][1]])
    with pytest.raises(EdgeError, match="lacks signatures"):
        signed.repository.publish(signed.all)


def test_a_root_that_the_former_one_did_not_sign_is_refused(look, trusting, signed, tmp_path):
    look()
    signed.repository.rotate("root", threshold=2)
    signed.publish()
    path = tmp_path / "stick" / "metadata" / "2.root.json"
    forged = Metadata.from_file(str(path))
    mine = [CryptoSigner.generate_ed25519() for _ in range(2)]
    for role in forged.signed.roles.values():
        role.keyids.clear()
    for role in forged.signed.roles:
        for signer in mine:
            forged.signed.add_key(signer.public_key, role)
    forged.signatures.clear()
    for signer in mine:
        forged.sign(signer, append=True)
    forged.to_file(str(path))
    refused(look, "not_trusted")


def test_a_target_under_another_name_is_not_known(look, trusting, signed):
    draft = signed.repository._edit_targets()
    target = draft.signed.targets["intervals/dog/1.0.0.tar"]
    target.path = "intervals/dog/9.0.0.tar"
    draft.signed.targets[target.path] = target
    signed.repository._put_draft("targets", draft)
    signed.publish()
    found = look()
    assert list(found.taken) == [f"{DOG}@1.0.0"]
    assert any("9.0.0" in reason for reason in found.unneeded)


# Over the network


@pytest.fixture
def http(site, trusting, tmp_path):
    server = Server(site.url, fleet=site.fleet, certificate=None)
    with closing(server):
        yield lambda **more: HttpFetcher(server, "", trusting.folder.incoming, **more)


def test_over_the_network_the_same_is_taken(http, trusting):
    assert trusting.look(http()).taken == {f"{DOG}@1.0.0": "proved and in use"}


@pytest.mark.parametrize("name", ["metadata/timestamp.json", "target"])
def test_endless_data_is_given_up_early(http, site, trusting, tmp_path, name):
    stick = tmp_path / "stick"
    target = next((stick / "targets").rglob("*.tar")).relative_to(stick).as_posix()
    path = target if name == "target" else name

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        while True:
            handler.wfile.write(b" " * 65536)
            site.sent += 65536

    site.bent[f"/{path}"] = endless
    with pytest.raises(UpdateError) as caught:
        trusting.look(http())
    assert caught.value.code == "not_trusted"
    assert site.sent < 8 << 20
    assert in_use(trusting) is None
    assert sum(p.stat().st_size for p in trusting.folder.incoming.glob("*")) < 1 << 20


def test_slow_retrieval_is_given_up_and_gone_on_with(http, site, trusting, tmp_path):
    stick = tmp_path / "stick"
    path = next((stick / "targets").rglob("*.tar"))
    data = path.read_bytes()
    now = [0.0]

    def slow(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for start in range(0, len(data), 1000):
            now[0] += 20.0
            handler.wfile.write(data[start : start + 1000])
            handler.wfile.flush()

    name = f"/{path.relative_to(stick).as_posix()}"
    site.bent[name] = slow
    with pytest.raises(UpdateError) as caught:
        trusting.look(http(monotonic=lambda: now[0], grace_s=30.0))
    assert caught.value.code == "slow"
    assert caught.value.by_itself
    assert in_use(trusting) is None
    kept = sum(p.stat().st_size for p in trusting.folder.incoming.glob("*.part"))
    assert 0 < kept < len(data)
    del site.bent[name]
    assert trusting.look(http()).taken
    assert site.ranges == [f"bytes={kept}-"]


def test_a_garbled_half_is_not_gone_on_with_for_ever(http, site, trusting):
    """What a bad line left is thrown away once the whole does not prove."""
    first = http()
    with pytest.raises(UpdateError):
        trusting.look(_Broken(first))
    for part in trusting.folder.incoming.glob("*.part"):
        part.write_bytes(b"x" * part.stat().st_size)
    with pytest.raises(UpdateError) as caught:
        trusting.look(http())
    assert caught.value.code == "not_trusted"
    assert trusting.look(http()).taken


class _Broken(HttpFetcher):
    """Loses the line in the middle of every target."""

    def __init__(self, other: HttpFetcher) -> None:
        super().__init__(other._server, other._prefix, other._incoming)

    def _pieces(self, url, offset):
        for piece in super()._pieces(url, offset):
            if url.startswith("targets/"):
                from tuf.api.exceptions import DownloadError

                yield piece[: len(piece) // 2]
                raise DownloadError("the line is gone")
            yield piece


def test_a_page_of_a_guest_network_is_no_update(http, site, trusting):
    def portal(handler):
        page = b"<html>Please sign in</html>"
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        handler.wfile.write(page)

    site.bent["/metadata/timestamp.json"] = portal
    with pytest.raises(UpdateError) as caught:
        trusting.look(http())
    assert caught.value.code == "not_trusted"
    assert in_use(trusting) is None


def test_a_redirect_to_another_server_is_not_followed(http, site, trusting):
    def elsewhere(handler):
        handler.send_response(302)
        handler.send_header("Location", "http://127.0.0.1:1/timestamp.json")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    site.bent["/metadata/timestamp.json"] = elsewhere
    with pytest.raises(UpdateError) as caught:
        trusting.look(http())
    assert caught.value.code == "unreachable"


def test_a_server_of_another_fleet_is_not_asked(site, trusting):
    with closing(Server(site.url, fleet=None, certificate=None)) as server:
        fetcher = HttpFetcher(server, "", trusting.folder.incoming)
        with pytest.raises(UpdateError, match="not trusted"):
            trusting.look(fetcher)


# Clock


class Unsure:
    """A clock that no time server sets."""

    def __init__(self, clock) -> None:
        self._clock = clock

    def stamp(self):
        from dataclasses import replace

        return replace(self._clock.stamp(), state="unsynchronised")

    def monotonic(self) -> float:
        return self._clock.monotonic()


def test_a_clock_that_nobody_sets_blocks_updates_only(trusting, tmp_path):
    trusting._clock = Unsure(trusting._clock)
    fetcher = FolderFetcher(tmp_path / "stick")
    with pytest.raises(UpdateError) as caught:
        trusting.look(fetcher)
    assert caught.value.code == "clock"
    assert trusting.folder.read().checked["code"] == "clock"
    assert trusting.look(fetcher, clock_is_right=True).taken


def test_how_long_each_part_holds(old_signed):
    old_signed.add_table("1.0.0")
    old_signed.publish()
    expires = old_signed.repository.describe()["expires"]
    assert datetime.fromisoformat(expires["timestamp"]) == datetime(2020, 1, 31, tzinfo=UTC)
    assert datetime.fromisoformat(expires["root"]) - datetime(2020, 1, 1, tzinfo=UTC) == timedelta(
        days=730
    )
