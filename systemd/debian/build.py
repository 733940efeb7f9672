#!/usr/bin/env python3
"""Build the Debian packages: everything a box needs in one file, the same bytes every time.

    .venv/bin/python systemd/debian/build.py OUT                 (amd64 and arm64)
    .venv/bin/python systemd/debian/build.py OUT --arch arm64 --python 3.13

The wheels are those of ``constraints.txt``, taken by their hashes for the package's processor and
for the Python of each Debian it is for; no other file can come in. They are packed again, tighter
and without what no box runs: minutes of work, which `--wheels` keeps for the next build. Needs
dpkg-deb, and pip, hatchling and packaging in the Python that runs it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from email.parser import HeaderParser
from email.utils import formatdate
from pathlib import Path

from packaging.markers import Marker

HERE = Path(__file__).resolve().parent
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
PYTHONS = {"3.11": "3.11.2", "3.13": "3.13.5"}
"""Of Debian 12 and 13, with the release that markers are asked about."""
GLIBCS = ("2_28", "2_27", "2_26", "2_24", "2_17")
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
LEFT_OUT = {
    "numpy": r".*/tests/.*|numpy/f2py/.*|.*\.(pyi|pxd|h|a)",
    "onnxruntime": r"onnxruntime/(backend|datasets|quantization|tools|transformers)/.*"
    r"|.*/libonnxruntime\.so.*",
    "sqlalchemy": r"sqlalchemy/testing/.*",
    "alembic": r"alembic/testing/.*",
}
"""What of a wheel no box runs, by its whole name: tests and their tools, stubs and headers, what
prepares models, and onnxruntime's library for programs in C, which holds all of it once more."""
METHODS = {"lzma": zipfile.ZIP_LZMA, "deflate": zipfile.ZIP_DEFLATED}
UNIT_FILES = {
    "edge-daemon.service": "usr/lib/systemd/system",
    "sysusers.d/edge-daemon.conf": "usr/lib/sysusers.d",
    "tmpfiles.d/edge-daemon.conf": "usr/lib/tmpfiles.d",
    "udev/60-edge-daemon.rules": "usr/lib/udev/rules.d",
    "edge-daemon.service.d/lines.conf": "usr/share/edge-daemon/edge-daemon.service.d",
    "edge-daemon.service.d/sync.conf": "usr/share/edge-daemon/edge-daemon.service.d",
    "edge-daemon.service.d/web.conf": "usr/share/edge-daemon/edge-daemon.service.d",
    "journald.conf.d/edge-daemon.conf": "usr/share/edge-daemon/journald.conf.d",
}


def main(arguments: list[str] | None = None) -> None:
    """Build what the command line asks for and print one path a line."""
    parser = argparse.ArgumentParser(description="Build the Debian packages.")
    parser.add_argument("out", type=Path, help="folder for the packages")
    parser.add_argument("--arch", nargs="+", choices=MACHINES, default=list(MACHINES))
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=list(PYTHONS))
    parser.add_argument("--source", type=Path, default=HERE.parents[1], help="checkout to package")
    parser.add_argument("--deb-version", help="version of the package; default: the program's")
    parser.add_argument("--wheels", type=Path, help="folder that keeps wheels between builds")
    parser.add_argument(
        "--method", choices=METHODS, default="lzma", help="deflate: done sooner, a third larger"
    )
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    for arch in asked.arch:
        with tempfile.TemporaryDirectory() as scratch:
            print(build(asked, arch, Path(scratch)))


def build(asked: argparse.Namespace, arch: str, scratch: Path) -> Path:
    """Build the package of one architecture."""
    source = asked.source.resolve()
    epoch = timestamp(source)
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    version = asked.deb_version or project["version"]
    tree = scratch / "tree"
    shelf = tree / "usr/lib/edge-daemon"
    (shelf / "wheels").mkdir(parents=True)
    own = repacked([own_wheel(source, scratch, epoch)], shelf / "wheels", asked)
    (digest,) = own.values()
    for python in asked.python:
        lock = requirements((source / "constraints.txt").read_text(), MACHINES[arch], python)
        asking, fetched = scratch / f"lock-{python}.txt", scratch / python
        asking.write_text(lock)
        download(asking, fetched, MACHINES[arch], python, asked.wheels)
        exact = narrowed(lock, fetched)
        # Proved by the lock file's hashes just now; a box proves them by those of the new files.
        for old, new in repacked(sorted(fetched.glob("*.whl")), shelf / "wheels", asked).items():
            exact = exact.replace(old, new)
        line = f"edge-daemon=={project['version']} \\\n    --hash=sha256:{digest}\n"
        (shelf / f"requirements-{python}.txt").write_text(exact + line)
    (shelf / "version").write_text(f"{version}\n")
    put_files(tree)
    document(tree, source, version, epoch)
    facts = {
        "VERSION": version,
        "ARCHITECTURE": arch,
        "REVISION": revision(source),
        "PYTHON_FIRST": asked.python[0],
        "PYTHON_AFTER": f"3.{int(asked.python[-1].split('.')[1]) + 1}",
    }
    control(tree, facts)
    return seal(tree, asked.out / f"edge-daemon_{version}_{arch}.deb", epoch)


def timestamp(source: Path) -> int:
    """Return when the source was made: SOURCE_DATE_EPOCH, else its last commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(source), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout.strip():
        return int(done.stdout)
    return int((source / "pyproject.toml").stat().st_mtime)


def revision(source: Path) -> str:
    """Newest schema that this version of the program reads."""
    text = (source / "edge_daemon/store/layout.py").read_text()
    found = re.search(r'^REVISION: Final = "(\d+)"$', text, re.MULTILINE)
    assert found, "edge_daemon/store/layout.py names no REVISION"
    return found[1]


def own_wheel(source: Path, out: Path, epoch: int) -> Path:
    """Build the program's own wheel."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out.resolve())],
        cwd=source,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (wheel,) = out.glob("edge_daemon-*.whl")
    return wheel


def requirements(lock: str, machine: str, python: str) -> str:
    """Keep of a lock file what one Python on one processor needs, without the markers.

    pip asks markers about the Python it runs under, which is not the one of the box.
    """
    about = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": PYTHONS[python],
        "python_version": python,
        "sys_platform": "linux",
    }
    kept = []
    for block in re.split(r"\n(?=[a-z0-9])", re.sub(r"(?m)^\s*#.*\n", "", lock).strip()):
        head, _, hashes = block.partition(" \\\n")
        pin, _, marker = head.partition(" ; ")
        if not marker or Marker(marker).evaluate(about):
            found = re.findall(r"--hash=sha256:[0-9a-f]{64}", hashes)
            assert found, f"{pin} is locked without a hash"
            kept.append(" \\\n    ".join([pin, *found]))
    return "\n".join(kept) + "\n"


def download(wanted: Path, out: Path, machine: str, python: str, kept: Path | None) -> None:
    """Fetch the wheels that the requirements name, by their hashes."""
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
        "--only-binary=:all:", "--implementation", "cp", "--python-version", python,
        "-r", str(wanted), "-d", str(out),
    ]  # fmt: skip
    for glibc in GLIBCS:
        command += ["--platform", f"manylinux_{glibc}_{machine}"]
    command += ["--platform", f"manylinux2014_{machine}"]
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        command += ["--find-links", str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the wheels for Python {python} on {machine} cannot be had:\n{done.stderr}")
    if kept is not None:
        for wheel in out.glob("*.whl"):
            shutil.copyfile(wheel, kept / wheel.name)


def narrowed(lock: str, fetched: Path) -> str:
    """Leave of each package's hashes the one of the wheel that is for this Python and processor.

    A box then has nothing to choose: the package brings the wheels of several Pythons, and the
    lock file names them all.
    """
    have = {hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in fetched.glob("*.whl")}
    kept = []
    for block in re.split(r"\n(?=[a-z0-9])", lock.strip()):
        pin = block.partition(" \\\n")[0]
        (digest,) = have & set(re.findall(r"sha256:([0-9a-f]{64})", block))
        kept.append(f"{pin} \\\n    --hash=sha256:{digest}\n")
    return "".join(kept)


def repacked(wheels: list[Path], out: Path, asked: argparse.Namespace) -> dict[str, str]:
    """Pack wheels again into a folder; return the new hash of each by its old one."""
    kept = None
    if asked.wheels is not None:
        rules = hashlib.sha256(repr(sorted(LEFT_OUT.items())).encode()).hexdigest()[:8]
        kept = asked.wheels / f"{asked.method}-{rules}"
        kept.mkdir(parents=True, exist_ok=True)

    def pack(wheel: Path) -> tuple[str, str]:
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        done, made = kept and kept / digest, out / wheel.name
        if done and done.is_file():
            shutil.copyfile(done, made)
        else:
            repack(wheel, made, METHODS[asked.method])
            if done:
                shutil.copyfile(made, done)
        return digest, hashlib.sha256(made.read_bytes()).hexdigest()

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        return dict(workers.map(pack, wheels))


def repack(wheel: Path, out: Path, method: int) -> None:
    """Pack what boxes need of a wheel, the same bytes every time."""
    unwanted = re.compile(LEFT_OUT.get(wheel.name.partition("-")[0], "(?!)"))
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            if not info.is_dir() and not unwanted.fullmatch(info.filename):
                new.writestr(zipfile.ZipInfo(info.filename), old.read(info), method)


def put_files(tree: Path) -> None:
    """Put units, rules and the program's name where Debian looks for them."""
    for name, folder in UNIT_FILES.items():
        target = tree / folder / Path(name).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE.parent / name, target)
    for name in ("make-environment", "unpack.py"):
        shutil.copyfile(HERE / name, tree / "usr/lib/edge-daemon" / name)
    (tree / "usr/lib/edge-daemon/make-environment").chmod(0o755)
    (tree / "usr/bin").mkdir()
    (tree / "usr/bin/edge-daemon").symlink_to("/opt/edge-daemon/bin/edge-daemon")


def document(tree: Path, source: Path, version: str, epoch: int) -> None:
    """Write changelog, licences and what lintian is to know."""
    folder = tree / "usr/share/doc/edge-daemon"
    folder.mkdir(parents=True)
    entry = (
        f"edge-daemon ({version}) stable; urgency=medium\n\n  * See NEWS.md.gz.\n\n"
        f" -- The edge_daemon authors <packages@edge-daemon.example>  {formatdate(epoch)}\n"
    )
    (folder / "changelog.gz").write_bytes(gzip.compress(entry.encode(), mtime=0))
    news = (source / "CHANGELOG.md").read_bytes()
    (folder / "NEWS.md.gz").write_bytes(gzip.compress(news, mtime=0))
    year = time.gmtime(epoch).tm_year
    own = (
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
        f"Upstream-Name: edge_daemon\n\nFiles: *\nCopyright: {year} The edge_daemon authors\n"
        "License: Apache-2.0\n On Debian systems the text is in"
        " /usr/share/common-licenses/Apache-2.0.\n"
    )
    wheels = sorted((tree / "usr/lib/edge-daemon/wheels").glob("*.whl"))
    parts = [licence(wheel) for wheel in wheels if not wheel.name.startswith("edge_daemon-")]
    (folder / "copyright").write_text(own + "".join(parts))
    manual = tree / "usr/share/man/man1/edge-daemon.1.gz"
    manual.parent.mkdir(parents=True)
    manual.write_bytes(gzip.compress((HERE / "edge-daemon.1").read_bytes(), mtime=0))
    overrides = tree / "usr/share/lintian/overrides/edge-daemon"
    overrides.parent.mkdir(parents=True)
    shutil.copyfile(HERE / "lintian-overrides", overrides)


def licence(wheel: Path) -> str:
    """Say under which licence a wheel stands; its own files hold the text."""
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (n for n in opened.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
        about = HeaderParser().parsestr(opened.read(name).decode())
    words = about["License-Expression"] or (about["License"] or "").strip().split("\n")[0]
    if not words:
        kinds = [c for c in about.get_all("Classifier", []) if c.startswith("License ::")]
        words = kinds[0].rsplit(" :: ", 1)[1] if kinds else "see the wheel"
    author = about["Author"] or about["Author-email"] or f"the authors of {about['Name']}"
    return (
        f"\nFiles: usr/lib/edge-daemon/wheels/{wheel.name}\nCopyright: {author.splitlines()[0]}\n"
        f"License: {words[:80]}\n The text is in the wheel itself.\n"
    )


def control(tree: Path, facts: dict[str, str]) -> None:
    """Write the control fields and the scripts of the package."""
    folder = tree / "DEBIAN"
    size = sum(p.lstat().st_size for p in tree.rglob("*") if not p.is_dir())
    sums = "".join(
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  "
        f"{path.relative_to(tree)}\n"
        for path in sorted(tree.rglob("*"))
        if path.is_file() and not path.is_symlink()
    )
    facts["INSTALLED_KB"] = str(-(-size // 1024))
    folder.mkdir()
    for name in ("control", "templates", "triggers", *SCRIPTS):
        text = (HERE / name).read_text()
        for key, value in facts.items():
            text = text.replace(f"@{key}@", value)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755 if name in SCRIPTS else 0o644)
    (folder / "md5sums").write_text(sums)


def seal(tree: Path, out: Path, epoch: int) -> Path:
    """Pack the tree: same modes, same times, same order, of root."""
    for path in sorted(tree.rglob("*"), reverse=True):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    tree.chmod(0o755)
    os.utime(tree, (epoch, epoch))
    # Wheels are compressed already: more effort would only take time.
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(out)],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return out


if __name__ == "__main__":
    main()
