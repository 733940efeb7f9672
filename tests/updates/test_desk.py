"""Taking updates on a box: proofs by a real worker, refusals, rollbacks, and kills anywhere."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import signal
import sys

import numpy as np
import pytest

from edge_daemon.classify.bundle import BundleShelf
from edge_daemon.decode import kit
from edge_daemon.decode.registry import Registry
from edge_daemon.errors import EdgeError, Fatal
from edge_daemon.reference.loading import load_tables
from edge_daemon.resources import profiles_dir
from edge_daemon.updates import archive
from edge_daemon.updates.describing import describe
from edge_daemon.updates.errors import UpdateError
from edge_daemon.updates.fetching import FolderFetcher
from edge_daemon.updates.folder import UpdateFolder, active_folders, reference_places
from edge_daemon.updates.kinds import Item
from edge_daemon.updates.places import own_plan, with_updates
from tests.updates.conftest import BUNDLE, TABLE, Signed, make_bundle

MODEL = f"model/{BUNDLE}"
PROFILE = f"{BUNDLE}/1.0"


def used(box) -> str:
    """Bundle that a capture of the simulated analyzer would be classified with."""
    shelf = BundleShelf.load(with_updates(own_plan(None), box).model_dirs)
    return shelf.for_profile(PROFILE, "dog").id


@pytest.fixture
def published(signed, trusting, tmp_path):
    """A repository with a newer bundle."""
    signed.add_model(make_bundle(tmp_path, "0.9.0"))
    signed.publish()
    return signed


def test_a_bundle_is_proved_by_a_worker_and_used(published, look, trusting, box):
    shipped = used(box)
    found = look()
    assert found.taken[f"{MODEL}@0.9.0"] == "proved and in use"
    assert used(box) == f"{BUNDLE}@0.9.0"
    slot = trusting.roll_back(MODEL, "it does not please")
    assert slot.active is None
    assert used(box) == shipped
    again = look()
    assert again.taken == {}
    assert "it does not please" in again.waits[f"{MODEL}@0.9.0"]
    assert not [*(trusting.folder.root / "items" / "model").rglob("*.onnx")]
    trusting.unblock(MODEL)
    assert look().taken
    assert used(box) == f"{BUNDLE}@0.9.0"


def test_a_bundle_whose_golden_vectors_fail_is_never_used(signed, trusting, look, box, tmp_path):
    shipped = used(box)
    bundle = make_bundle(tmp_path, "0.9.0")
    item, files = Item("model", BUNDLE, "0.9.0"), {}
    for path in bundle.iterdir():
        files[f"{bundle.name}/{path.name}"] = path.read_bytes()
    # Rightly signed, rightly listed in its manifest, and still not what it was made as.
    name = f"{bundle.name}/golden.npz"
    golden = dict(np.load(io.BytesIO(files[name])))
    golden["stage1_latent"] = golden["stage1_latent"] + np.float32(1)
    out = io.BytesIO()
    np.savez_compressed(out, **golden)
    changed = {name: out.getvalue()}
    manifest = f"{bundle.name}/manifest.toml"
    text = files[manifest].decode()
    for word, new in (
        (hashlib.sha256(files[name]).hexdigest(), hashlib.sha256(changed[name]).hexdigest()),
        (f"bytes = {len(files[name])}", f"bytes = {len(changed[name])}"),
    ):
        assert word in text
        text = text.replace(word, new)
    changed[manifest] = text.encode()
    signed.repository.add(item, archive.pack({**files, **changed}))
    signed.publish()
    assert "int8 outputs reproduced exactly" in look().refused[f"{MODEL}@0.9.0"]
    assert used(box) == shipped
    assert look().refused == {}


def test_a_bundle_that_is_signed_as_another_is_refused(signed, trusting, look, box, tmp_path):
    bundle = make_bundle(tmp_path, "0.9.0")
    files = {f"{bundle.name}/{p.name}": p.read_bytes() for p in bundle.iterdir()}
    signed.repository.add(Item("model", BUNDLE, "0.9.1"), archive.pack(files))
    signed.publish()
    assert "signed as" in look().refused[f"{MODEL}@0.9.1"]


@pytest.mark.usefixtures("proved_here")
def test_an_older_bundle_than_the_shipped_one_is_refused(signed, look, trusting, box, tmp_path):
    signed.add_model(make_bundle(tmp_path, "0.0.1"))
    signed.publish()
    assert "newer" in look().unneeded[f"{MODEL}@0.0.1"]
    assert not trusting.folder.read().slot(MODEL).blocked


def new_firmware(folder) -> dict[str, bytes]:
    """The simulated analyzer with another firmware, and a sample of it."""
    source, place = profiles_dir() / BUNDLE, folder / BUNDLE
    place.mkdir()
    shutil.copy(source / "calibration.npz", place)
    text = (source / "1.0.toml").read_text()
    (place / "7.7.toml").write_text(text.replace('"1.0"', '"7.7"'))
    sample = (source / "1.0.sample.fcs").read_bytes()
    changed = re.sub(rb"(FIRMWARE.)1\.0", rb"\g<1>7.7", sample)
    assert changed != sample
    (place / "7.7.sample.fcs").write_bytes(changed)
    kit.write_expected(place / "7.7.toml")
    return {f"{BUNDLE}/{path.name}": path.read_bytes() for path in place.iterdir()}


def test_a_profile_is_held_to_its_sample(signed, trusting, look, box, tmp_path):
    files = new_firmware(tmp_path)
    name = f"{BUNDLE}/7.7"
    expected = f"{BUNDLE}/7.7.expected.npz"
    wrong = {**files, expected: (profiles_dir() / BUNDLE / "1.0.expected.npz").read_bytes()}
    signed.repository.add(Item("profile", name, "1.0.0"), archive.pack(wrong))
    signed.publish()
    assert "sample decodes to other" in look().refused[f"profile/{name}@1.0.0"]
    assert name not in Registry.load(with_updates(own_plan(None), box).profile_dirs).profiles
    signed.repository.add(Item("profile", name, "1.0.1"), archive.pack(files))
    signed.publish()
    assert look().taken == {f"profile/{name}@1.0.1": "proved and in use"}
    assert name in Registry.load(with_updates(own_plan(None), box).profile_dirs).profiles


def test_a_profile_that_ships_is_not_changed(signed, trusting, look, box, proved_here):
    source = profiles_dir() / "urit_5160"
    files = {f"urit_5160/{p.name}": p.read_bytes() for p in source.glob("hl7-2.3.1.*")}
    name = "urit_5160/hl7-2.3.1"
    signed.repository.add(Item("profile", name, "1.0.0"), archive.pack(files))
    signed.publish()
    path = source / "hl7-2.3.1.toml"
    assert look().taken.keys() == {"intervals/dog@1.0.0"}, path
    files["urit_5160/hl7-2.3.1.toml"] += b"# another\n"
    signed.repository.add(Item("profile", name, "1.0.1"), archive.pack(files))
    signed.publish()
    assert "which stays in use" in look().unneeded[f"profile/{name}@1.0.1"]
    assert active_folders(box, "profile") == ()
    assert not Registry.load(with_updates(own_plan(None), box).profile_dirs).problems


@pytest.mark.usefixtures("proved_here")
def test_tables_go_over_the_shipped_ones_and_under_the_site_s_own(look, trusting, box, tmp_path):
    look()
    shipped = load_tables(species=["dog"]).species["dog"].intervals["RBC"]
    now = load_tables(reference_places(box, ()), ["dog"]).species["dog"].intervals["RBC"]
    assert (shipped.low, now.low) == (5.65, 5.5)
    own = tmp_path / "own.toml"
    own.write_text(TABLE.format(version="site", low=5.1))
    site = load_tables(reference_places(box, [own]), ["dog"]).species["dog"].intervals["RBC"]
    assert site.low == 5.1


@pytest.mark.usefixtures("proved_here")
def test_a_table_with_a_wrong_unit_is_refused(signed, look, trusting, box):
    text = TABLE.format(version="2", low=5.5).replace("10*6/uL", "g/dL")
    signed.add_table("1.1.0", text=text)
    signed.publish()
    assert "RBC" in look().refused["intervals/dog@1.1.0"]


@pytest.mark.usefixtures("proved_here")
def test_what_a_box_lacks_is_said_and_not_taken(signed, look, trusting):
    item = Item("intervals", "cat", "1.0.0", {"edge_daemon": "99.0.0"})
    signed.repository.add(item, archive.pack({"cat.toml": b""}))
    signed.publish()
    found = look()
    assert "needs edge_daemon 99.0.0" in found.unneeded["intervals/cat@1.0.0"]


@pytest.mark.usefixtures("proved_here")
def test_damaged_files_of_an_update_are_not_used_and_it_is_said(look, trusting, box):
    look()
    (place,) = active_folders(box, "intervals")
    (place / "dog.toml").write_text("kind = 'intervals'")
    assert active_folders(box, "intervals") == ()
    assert describe(box)["items"][0]["damaged"]


@pytest.mark.usefixtures("proved_here")
def test_a_damaged_state_leaves_what_ships(look, trusting, box):
    look()
    state = box / "updates" / "state.json"
    state.write_text("{")
    assert active_folders(box, "intervals") == ()
    assert "cannot be read" in describe(box)["damaged"]
    with pytest.raises(EdgeError) as caught:
        look()
    assert "Move the file away" in caught.value.action
    state.unlink()
    assert look().taken
    assert len(active_folders(box, "intervals")) == 1


def test_nobody_is_believed_before_a_person_says_whom(desk, signed, tmp_path):
    signed.add_table("1.0.0")
    place = signed.publish()
    with pytest.raises(EdgeError, match="does not know who signs"):
        desk.look(FolderFetcher(place))
    with pytest.raises(EdgeError, match="no root file"):
        desk.trust.begin(b"{}")
    unsigned = (place / "metadata" / "timestamp.json").read_bytes()
    with pytest.raises(EdgeError):
        desk.trust.begin(unsigned)
    desk.trust.begin(signed.root)
    other = Signed(tmp_path / "other")
    other.add_table("1.0.0")
    other.publish(tmp_path / "others")
    with pytest.raises(Fatal, match="another root"):
        desk.trust.begin(other.root)
    desk.look(FolderFetcher(place))
    desk.trust.begin(other.root, replace=True)
    with pytest.raises(UpdateError):
        desk.look(FolderFetcher(place))
    assert desk.look(FolderFetcher(tmp_path / "others"))


def test_another_user_leaves_nothing_that_the_service_cannot_read(trusting, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(Fatal, match="another user"), trusting.folder.locked():
        pass


# Kills

_WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link"}


def killed_at(number: int, root: str, work) -> bool:
    """Do the work in a child that kills itself before its n-th change of a file; whether it did."""
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
        return os.WIFSIGNALED(status)
    left = [number]

    def hook(event, arguments):
        if event not in _WATCHED or not str(arguments[0]).startswith(root):
            return
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(hook)
        work()
    except BaseException:  # noqa: BLE001 - a child must not go on as a test
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def sweep(box, work, sound, *, step: int = 1) -> int:
    """Kill the work before each of its steps, always from the same start; judge what is left."""
    folder, start = box / "updates", box.parent / "start"
    shutil.rmtree(start, ignore_errors=True)
    shutil.copytree(folder, start, symlinks=True)
    number = 0
    while killed_at(1 + number * step, str(folder), work):
        number += 1
        sound()
        shutil.rmtree(folder)
        shutil.copytree(start, folder, symlinks=True)
        assert number < 1000
    return number


@pytest.fixture
def kills(signed, look, trusting, box, tmp_path):
    """Sweep over taking a model and a table, then over a rollback."""

    def swept(step: int) -> list[int]:
        look()
        signed.add_model(make_bundle(tmp_path, "0.9.0"))
        signed.add_table("1.1.0", 5.2)
        signed.publish()
        shipped, new, seen = used(box), f"{BUNDLE}@0.9.0", set()

        def sound():
            folder = UpdateFolder(box)
            for key, slot in folder.read().slots.items():
                assert all(folder.sound(key, held) for held in slot.held)
            seen.add((active(box), active_low(box)))
            assert used(box) == (new if active(box) else shipped)

        numbers = [sweep(box, look, sound, step=step)]
        assert seen == {(False, 5.5), (False, 5.2), (True, 5.2)}
        assert (used(box), active_low(box)) == (new, 5.2)
        numbers.append(sweep(box, lambda: trusting.roll_back(MODEL, "x"), sound))
        assert used(box) == shipped
        look()
        left = [p for p in (box / "updates").rglob("*") if p.name.startswith(("tmp", "new-"))]
        assert not [*(box / "updates" / "incoming").iterdir(), *left]
        return numbers

    return swept


@pytest.mark.usefixtures("proved_here")
def test_killed_anywhere_the_last_good_version_stays_in_use(kills):
    numbers = kills(4)
    assert numbers[0] > 20
    assert numbers[1] >= 2


@pytest.mark.campaign
def test_killed_before_every_step_with_real_workers(kills):
    assert kills(1)[0] > 40


def active(box) -> bool:
    return UpdateFolder(box).read().slot(MODEL).active is not None


def active_low(box) -> float:
    tables = load_tables(reference_places(box, ()), ["dog"])
    assert not tables.broken
    return tables.species["dog"].intervals["RBC"].low
