"""Unpack the wheels that a requirements file names into an environment, each by its SHA-256.

    python unpack.py WHEELS REQUIREMENTS ENVIRONMENT

Standard library only: a box may lack pip, and a network to get it from. It does what pip does with
wheels of these kinds: files into site-packages, byte code, one script for each command.
"""

import compileall
import configparser
import hashlib
import re
import sys
import sysconfig
import zipfile
from pathlib import Path

SCRIPT = """#!{python}
import sys
from {module} import {function}
sys.exit({function}())
"""


def main(shelf: Path, wanted: Path, environment: Path) -> None:
    """Unpack exactly what is wanted, or end before anything runs."""
    site = Path(sysconfig.get_path("purelib"))
    if not site.is_relative_to(environment):
        sys.exit(f"{sys.executable} does not belong to {environment}")
    wheels = {hashlib.sha256(w.read_bytes()).hexdigest(): w for w in shelf.glob("*.whl")}
    for block in re.split(r"\n(?=[a-z0-9])", wanted.read_text().strip()):
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", block)
        found = next((wheels[digest] for digest in hashes if digest in wheels), None)
        if found is None:
            sys.exit(f"{block.split()[0]}: no wheel with its hash is here")
        unpack(found, site, environment)
    if not compileall.compile_dir(site, quiet=2, workers=1):
        sys.exit("a package cannot be compiled")


def unpack(wheel: Path, site: Path, environment: Path) -> None:
    """Unpack one wheel and write its commands."""
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        if any(".data/" in name.split("/", 1)[0] + "/" for name in names):
            sys.exit(f"{wheel.name}: has files for elsewhere, which nothing here puts there")
        opened.extractall(site)
        for name in names:
            if re.fullmatch(r"[^/]+\.dist-info/entry_points\.txt", name):
                write_commands(opened.read(name).decode(), environment)


def write_commands(entry_points: str, environment: Path) -> None:
    """Write a script for each command of a package."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] - names keep their case
    parser.read_string(entry_points)
    if not parser.has_section("console_scripts"):
        return
    for name, target in parser["console_scripts"].items():
        module, _, function = target.partition(":")
        script = environment / "bin" / name
        text = SCRIPT.format(
            python=environment / "bin/python", module=module, function=function.split()[0]
        )
        script.write_text(text)
        script.chmod(0o755)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
