"""The Debian package: what is in it, and that what is in it runs.

Installing, upgrading and removing it on a real Debian is `tests/boot/test_package.py`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name, parse_wheel_filename

from edge_daemon.store import layout

HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "amd64")
RUNNING = "{}.{}".format(*sys.version_info[:2])
MACHINES = {"amd64": 62, "arm64": 183}
"""Number of a processor in the header of a program, by Debian's name of it."""
ENVIRONMENT_MB = 180
"""With bytecode; with the wheels that stay, 230 (`tests/boot/test_package.py`)."""
IMPORT = """
import sys
sys.path[:0] = sys.argv[1:]
import numpy, onnxruntime, edge_daemon.cli, edge_daemon.service, edge_daemon.web.app
import edge_daemon.store.upgrade
from edge_daemon.classify.bundle import BundleShelf
from edge_daemon.resources import models_dir
shelf = BundleShelf.load((models_dir(),))  # runs the golden vectors of every bundle
assert not shelf.problems, shelf.problems
print(*(module.__file__ for module in (numpy, onnxruntime, edge_daemon)))
"""


@pytest.fixture(scope="module")
def builder(repository: Path):
    script = repository / "systemd/debian/build.py"
    spec = importlib.util.spec_from_file_location("build_deb", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Package:
    """One built package, unpacked."""

    def __init__(self, file: Path, arch: str, python: str, originals: Path) -> None:
        self.file, self.arch, self.python, self.originals = file, arch, python, originals
        self.tree = file.parent / "tree"
        subprocess.run(["dpkg-deb", "-R", str(file), str(self.tree)], check=True)
        self.shelf = self.tree / "usr/lib/edge-daemon"
        self.wheels = sorted(self.shelf.glob("wheels/*.whl"))

    def site(self) -> Path:
        """Every wheel, unpacked."""
        site = self.file.parent / "site"
        for wheel in self.wheels:
            with zipfile.ZipFile(wheel) as opened:
                opened.extractall(site)
        return site


def make(builder, out: Path, arch: str, python: str) -> Package:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("system: dpkg-deb is not installed")
    try:
        how = ["--wheels", str(out / "wheels"), "--method", "deflate"]  # lzma takes a minute
        builder.main([str(out), "--arch", arch, "--python", python, *how])
    except SystemExit as error:
        pytest.skip(f"system: {error}")
    (file,) = out.glob("*.deb")
    return Package(file, arch, python, out / "wheels")


@pytest.fixture(scope="module")
def own(builder, tmp_path_factory):
    """The package for this machine and this Python."""
    python = RUNNING if RUNNING in builder.PYTHONS else "3.11"
    return make(builder, tmp_path_factory.mktemp("own"), HERE, python)


@pytest.fixture(scope="module")
def emulated():
    folder = os.environ.get("EDGE_AARCH64")
    if not folder:
        pytest.skip("system: no emulated aarch64 box; bash .ci/aarch64 DIR, then EDGE_AARCH64=DIR")
    return Path(folder) / "python"


@pytest.fixture(scope="module")
def arm64(builder, emulated, tmp_path_factory):
    """The package for a Raspberry Pi, with the Python of the emulated one."""
    about = "import sys; print('%d.%d' % sys.version_info[:2])"
    python = subprocess.run([emulated, "-c", about], capture_output=True, text=True, check=True)
    return make(builder, tmp_path_factory.mktemp("arm64"), "arm64", python.stdout.strip())


@pytest.fixture(params=["own", "arm64"])
def package(request):
    return request.getfixturevalue(request.param)


def test_its_control_fields_say_what_it_needs(package, repository):
    said = (package.tree / "DEBIAN/control").read_text()
    fields = dict(re.findall(r"^([A-Z][A-Za-z-]+): (.*)$", said, re.MULTILINE))
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert (fields["Package"], fields["Version"]) == (project["name"], project["version"])
    assert fields["Architecture"] == package.arch
    after = f"3.{int(package.python[2:]) + 1}"
    assert f"python3 (>= {package.python}), python3 (<< {after})" in fields["Depends"]
    assert not re.search(r"@[A-Z_]+@", said)


def test_every_file_lies_where_debian_wants_it_and_is_of_root(package):
    listing = subprocess.run(
        ["dpkg-deb", "-c", str(package.file)], capture_output=True, text=True, check=True
    )
    for line in listing.stdout.splitlines():
        mode, owner, _, _, _, name = line.split(maxsplit=5)
        assert owner == "root/root"
        assert mode in ("drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x", "lrwxrwxrwx"), line
        assert name.startswith(("./usr/", "./")), line
        assert not name.startswith(("./etc/", "./opt/", "./var/")), line
    wanted = (
        "usr/lib/systemd/system/edge-daemon.service",
        "usr/lib/sysusers.d/edge-daemon.conf",
        "usr/lib/tmpfiles.d/edge-daemon.conf",
        "usr/lib/udev/rules.d/60-edge-daemon.rules",
        "usr/share/edge-daemon/edge-daemon.service.d/lines.conf",
        "usr/share/edge-daemon/edge-daemon.service.d/web.conf",
        "usr/share/edge-daemon/edge-daemon.service.d/sync.conf",
        "usr/share/doc/edge-daemon/copyright",
    )
    assert [name for name in wanted if not (package.tree / name).is_file()] == []
    command = package.tree / "usr/bin/edge-daemon"
    assert str(command.readlink()) == "/opt/edge-daemon/bin/edge-daemon"
    assert not (package.tree / "DEBIAN/conffiles").exists()


def test_its_scripts_are_sound(package):
    scripts = [
        package.tree / "DEBIAN" / name for name in ("preinst", "postinst", "prerm", "postrm")
    ]
    for script in [*scripts, package.shelf / "make-environment"]:
        assert script.stat().st_mode & 0o777 == 0o755
        done = subprocess.run(
            ["sh", "-n", str(script)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), script
        text = script.read_text()
        assert re.search(r"^set -e", text, re.MULTILINE)
        assert not re.search(r"@[A-Z_]+@", text)
    assert f'KNOWN, VERSION = "{layout.REVISION}"' in scripts[0].read_text()


def test_its_checksums_are_those_of_its_files(package):
    for line in (package.tree / "DEBIAN/md5sums").read_text().splitlines():
        digest, name = line.split("  ")
        found = hashlib.md5((package.tree / name).read_bytes(), usedforsecurity=False)
        assert found.hexdigest() == digest, name


def wanted_wheels(package):
    text = (package.shelf / f"requirements-{package.python}.txt").read_text()
    assert "://" not in text
    assert " ; " not in text
    blocks = re.split(r"\n(?=[a-z])", text.strip())
    return {
        canonicalize_name(block.split("==")[0]): (
            re.match(r"[^=]+==(\S+)", block)[1],
            set(re.findall(r"sha256:([0-9a-f]{64})", block)),
        )
        for block in blocks
    }


def test_it_holds_exactly_the_locked_wheels(package, repository):
    wanted = wanted_wheels(package)
    lock = (repository / "constraints.txt").read_text()
    for wheel in package.wheels:
        name, version, _, _ = parse_wheel_filename(wheel.name)
        locked, hashes = wanted.pop(name)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        assert (str(version), {digest}) == (locked, hashes), wheel.name
        if name != "edge-daemon":
            original = package.originals / wheel.name
            assert hashlib.sha256(original.read_bytes()).hexdigest() in lock, wheel.name
    assert wanted == {}


def contents(wheel):
    with zipfile.ZipFile(wheel) as opened:
        return {i.filename: opened.read(i) for i in opened.infolist() if not i.is_dir()}


def test_a_wheel_keeps_every_file_but_those_that_no_box_runs(package, builder):
    assert {wheel.name.partition("-")[0] for wheel in package.wheels} >= set(builder.LEFT_OUT)
    for wheel in package.wheels:
        name = wheel.name.partition("-")[0]
        if name == "edge_daemon":
            continue
        held, original = contents(wheel), contents(package.originals / wheel.name)
        unwanted = re.compile(builder.LEFT_OUT.get(name, "(?!)"))
        assert held == {n: data for n, data in original.items() if not unwanted.fullmatch(n)}
        assert (len(held) < len(original)) == (name in builder.LEFT_OUT), name


def test_a_wheel_is_packed_as_tightly_as_a_box_can_unpack(builder, tmp_path):
    source, tight, quick = tmp_path / "x-1.whl", tmp_path / "tight", tmp_path / "quick"
    with zipfile.ZipFile(source, "w") as opened:
        opened.writestr("x/__init__.py", "".join(f"a{n} = {n}\n" for n in range(5_000)))
    builder.repack(source, tight, builder.METHODS["lzma"])
    builder.repack(source, quick, builder.METHODS["deflate"])
    assert tight.stat().st_size < quick.stat().st_size
    assert contents(tight) == contents(quick) == contents(source)


def test_each_python_gets_its_own_versions_of_the_lock_file(builder):
    lock = (
        f"numpy==1 ; python_full_version < '3.12' \\\n    --hash=sha256:{'a' * 64}\n"
        f"    # via x\nnumpy==2 ; python_full_version >= '3.12' \\\n    --hash=sha256:{'b' * 64}\n"
        f"odd==3 ; sys_platform == 'win32' \\\n    --hash=sha256:{'c' * 64}\n"
    )
    assert builder.requirements(lock, "x86_64", "3.11").startswith("numpy==1 \\\n")
    assert builder.requirements(lock, "x86_64", "3.13").startswith("numpy==2 \\\n")
    assert "odd" not in builder.requirements(lock, "aarch64", "3.13")


def test_a_box_has_nothing_to_choose_between_the_wheels_of_several_pythons(builder, tmp_path):
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("cp311", "cp313")}
    lock = "numpy==1 \\\n" + " \\\n".join(f"    --hash=sha256:{d}" for d in digests.values())
    for name, digest in digests.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"numpy-1-{name}.whl").write_bytes(name.encode())
        exact = builder.narrowed(lock, tmp_path / name)
        assert re.findall(r"sha256:([0-9a-f]+)", exact) == [digest]


def test_its_native_code_is_of_its_own_processor(package):
    found = 0
    for wheel in package.wheels:
        with zipfile.ZipFile(wheel) as opened:
            for name in opened.namelist():
                if re.search(r"\.so(\.[\d.]+)?$", name):
                    header = opened.open(name).read(20)
                    assert header[:4] == b"\x7fELF", name
                    assert int.from_bytes(header[18:20], "little") == MACHINES[package.arch], name
                    found += 1
    assert found > 20


def test_what_it_brings_makes_an_environment_that_runs(own, tmp_path):
    if (own.arch, own.python) != (HERE, RUNNING):
        pytest.skip(f"the package has nothing for Python {RUNNING}")
    made = tmp_path / "made"
    venv.create(made, with_pip=False, symlinks=True)
    python, wanted = made / "bin/python", own.shelf / f"requirements-{RUNNING}.txt"
    unpack = [python, "-I", own.shelf / "unpack.py", own.shelf / "wheels"]
    subprocess.run([*unpack, wanted, made], check=True)
    said = subprocess.run(
        [python, "-I", "-c", IMPORT], capture_output=True, text=True, check=True
    ).stdout.split()
    assert [place for place in said if not Path(place).is_relative_to(made)] == []
    assert len(said) == 3
    command = subprocess.run(
        [made / "bin/edge-daemon", "--version"], capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert command.stdout.startswith("edge-daemon 0.")
    taken = sum(path.lstat().st_size for path in made.rglob("*") if not path.is_dir())
    assert taken / 1e6 <= ENVIRONMENT_MB
    # A wheel that was exchanged is no wheel of ours.
    (own_wheel,) = own.shelf.glob("wheels/edge_daemon-*.whl")
    own_wheel.write_bytes(own_wheel.read_bytes() + b"x")
    refused = subprocess.run([*unpack, wanted, made], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "edge-daemon==" in refused.stderr
    own_wheel.write_bytes(own_wheel.read_bytes()[:-1])


def test_what_it_brings_runs_on_a_raspberry_pi(arm64, emulated):
    site = arm64.site()
    said = subprocess.run(
        [emulated, "-c", IMPORT, str(site)], capture_output=True, text=True, check=False,
        env={**os.environ, "QEMU_CPU": "cortex-a72"},
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    places = said.stdout.split()
    assert [place for place in places if not Path(place).is_relative_to(site)] == []
    assert len(places) == 3


def test_the_same_files_make_the_same_package(builder, tmp_path):
    if shutil.which("dpkg-deb") is None:
        pytest.skip("system: dpkg-deb is not installed")
    digests = set()
    for name, mask, names in (("one", 0o022, "ab"), ("two", 0o077, "ba")):
        before = os.umask(mask)
        try:
            tree = tmp_path / name
            (tree / "DEBIAN").mkdir(parents=True)
            (tree / "usr").mkdir()
            (tree / "DEBIAN/control").write_text(
                "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
            )
            for letter in names:
                (tree / "usr" / letter).write_text(letter)
            out = builder.seal(tree, tmp_path / f"{name}.deb", 1_700_000_000)
        finally:
            os.umask(before)
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.campaign
def test_two_builds_of_the_whole_are_the_same(builder, own, tmp_path):
    again = make(builder, tmp_path, own.arch, own.python)
    assert again.file.read_bytes() == own.file.read_bytes()
