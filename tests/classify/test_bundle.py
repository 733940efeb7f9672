import io
import pickle

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_daemon.classify.bundle import MANIFEST, BundleError, load_bundle
from edge_daemon.classify.manifest import BUNDLE_FILES


def golden(folder, **changes):
    with np.load(folder / "golden.npz") as archive:
        arrays = {name: archive[name] for name in archive.files} | changes
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


def test_a_good_bundle_loads_and_names_itself(bundle):
    assert bundle.id == "written@1.2.3"
    assert len(bundle.manifest_sha256) == 64
    assert bundle.manifest.files["stage1.onnx"].bytes == len(bundle.stage1)


@pytest.mark.parametrize("name", [MANIFEST, *BUNDLE_FILES])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name):
        load_bundle(copy)


@pytest.mark.parametrize("name", BUNDLE_FILES)
@pytest.mark.parametrize("where", [0, -1])
def test_one_flipped_bit_in_any_file_is_refused(copy, name, where):
    data = bytearray((copy / name).read_bytes())
    data[where] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256") as caught:
        load_bundle(copy, verify=False)
    assert name in caught.value.file


@pytest.mark.parametrize("name", BUNDLE_FILES)
def test_another_length_is_refused(copy, name):
    with (copy / name).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match="bytes"):
        load_bundle(copy)


CHANGES = {
    "schema": lambda m: m.update(schema=2),
    "extra key": lambda m: m["bundle"].update(author="me"),
    "extra table": lambda m: m.update(notes={}),
    "no table": lambda m: m.pop("provenance"),
    "no key": lambda m: m["runtime"].pop("opset"),
    "wrong type": lambda m: m["runtime"].update(opset="17"),
    "version": lambda m: m["bundle"].update(version="1.2"),
    "name": lambda m: m["bundle"].update(name="../evil"),
    "profile": lambda m: m["valid"].update(profiles=["no slash"]),
    "species": lambda m: m["valid"].update(species=["unicorn"]),
    "channel": lambda m: m["input"].update(channels=["LA.H", "XX.H"]),
    "channel twice": lambda m: m["input"].update(channels=["EXT.A", "EXT.A"]),
    "anchor": lambda m: m["input"].update(anchor="SS.H"),
    "transform": lambda m: m["input"].update(transform="none"),
    "classes": lambda m: m["stage2"].update(classes=["a", "b", "c"]),
    "priors sum": lambda m: m["stage1"].update(priors=[0.5, 0.3, 0.1]),
    "priors count": lambda m: m["stage1"].update(priors=[0.5, 0.5]),
    "prior zero": lambda m: m["stage1"].update(priors=[1.0, 0.0, 0.0]),
    "uncertainty": lambda m: m["uncertainty"].update(rbc=float("nan")),
    "coincidence": lambda m: m["coincidence"].update(window_ul=-1.0),
    "quantization": lambda m: m["runtime"].update(quantization="float"),
    "digest": lambda m: m["files"]["card.md"].update(sha256="zz"),
    "file list": lambda m: m["files"].pop("card.md"),
    "other file": lambda m: m["files"].update({"../x": dict(m["files"]["card.md"])}),
    "provenance": lambda m: m["provenance"].update(cells=0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_manifest_that_is_not_right_is_refused(edit_manifest, change):
    with pytest.raises(BundleError, match=r"manifest\.toml") as caught:
        load_bundle(edit_manifest(change), verify=False)
    assert caught.value.action


def test_every_problem_of_a_manifest_is_listed(edit_manifest):
    def change(manifest):
        manifest["bundle"]["version"] = "x"
        manifest["runtime"]["opset"] = 1
        manifest["valid"]["profiles"] = []

    with pytest.raises(BundleError) as caught:
        load_bundle(edit_manifest(change))
    for key in ("bundle.version", "runtime.opset", "valid.profiles"):
        assert key in caught.value.found


@given(data=st.binary(max_size=400))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_bytes_in_a_manifest_raise_anything_else(copy, data):
    (copy / MANIFEST).write_bytes(data)
    with pytest.raises(BundleError):
        load_bundle(copy)


@given(data=st.binary(max_size=300), name=st.sampled_from(["stage1.onnx", "golden.npz"]))
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_noise_with_a_right_digest_is_still_refused(pristine, replace_file, data, name):
    folder = replace_file(name, data or b"\0")
    with pytest.raises(BundleError):
        load_bundle(folder)
    replace_file(name, (pristine / name).read_bytes())


def test_int8_outputs_must_be_reproduced_exactly(copy, replace_file):
    with np.load(copy / "golden.npz") as archive:
        latent = archive["stage2_latent"].copy()
    latent[3, 0] = np.nextafter(latent[3, 0], np.float32(np.inf))
    with pytest.raises(BundleError, match=r"1 of \d+ events differ") as caught:
        load_bundle(replace_file("golden.npz", golden(copy, stage2_latent=latent)))
    assert "stage2" in caught.value.expected
    assert load_bundle(copy, verify=False).id == "written@1.2.3"


@pytest.mark.parametrize(("shift", "good"), [(1e-6, True), (1e-3, False), (np.nan, False)])
def test_posteriors_may_differ_by_rounding_only(copy, replace_file, shift, good):
    with np.load(copy / "golden.npz") as archive:
        posterior = archive["stage1_posterior"] + np.float32(shift)
    folder = replace_file("golden.npz", golden(copy, stage1_posterior=posterior))
    if good:
        assert load_bundle(folder)
    else:
        with pytest.raises(BundleError, match="within"):
            load_bundle(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"peak": None},
        {"extra": np.zeros(3, np.float32)},
        {"signals": np.zeros((0, 12), np.float32)},
        {"signals": np.zeros((4, 12), np.float64)},
        {"signals": np.zeros((4, 7), np.float32)},
        {"signals": np.array(["a"], dtype=object)},
    ],
)
def test_golden_arrays_must_be_what_is_expected(copy, replace_file, changes):
    with pytest.raises(BundleError):
        load_bundle(replace_file("golden.npz", golden(copy, **changes)))


def test_graphs_with_other_inputs_are_refused(copy, replace_file):
    graph = onnx.load(copy / "stage1.onnx")
    graph.graph.output.pop()
    with pytest.raises(BundleError, match="inputs and outputs"):
        load_bundle(replace_file("stage1.onnx", graph.SerializeToString()))


def test_swapped_stages_are_refused(copy, replace_file):
    replace_file("stage1.onnx", (copy / "stage2.onnx").read_bytes())
    with pytest.raises(BundleError, match="stage1"):
        load_bundle(copy)


def test_weights_outside_the_file_are_refused(copy, replace_file):
    model = onnx.load(copy / "stage2.onnx")
    weight = next(t for t in model.graph.initializer if t.raw_data)
    onnx.external_data_helper.set_external_data(weight, location="../elsewhere.bin")
    weight.ClearField("raw_data")
    with pytest.raises(BundleError, match="another file"):
        load_bundle(replace_file("stage2.onnx", model.SerializeToString()))


def _field(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


def test_weights_outside_the_file_are_refused_however_they_are_written(copy, replace_file):
    # A length of 8 in two bytes instead of one, as no writer does and every reader accepts.
    entry = b"\x0a\x88\x00location" + _field(2, b"/etc/passwd")
    tensor = b"\x08\x08\x10\x03" + _field(8, b"extra") + _field(13, entry) + b"\x70\x01"
    data = (copy / "stage2.onnx").read_bytes() + _field(7, _field(5, tensor))
    (found,) = onnx.load_from_string(data).graph.initializer[-1].external_data
    assert (found.key, found.value) == ("location", "/etc/passwd")
    with pytest.raises(BundleError, match="another file"):
        load_bundle(replace_file("stage2.onnx", data))


def test_the_error_survives_a_process_border(copy):
    (copy / "card.md").unlink()
    with pytest.raises(BundleError) as caught:
        load_bundle(copy)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.file, again.expected, again.found, again.action) == (
        caught.value.file,
        caught.value.expected,
        caught.value.found,
        caught.value.action,
    )
