"""What the page is made of: little, and exactly what was vendored."""

import hashlib
import re

from edge_daemon.signin.static import LOOK
from edge_daemon.web.render import HERE, STATIC

VENDORED = {
    "uplot.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uplot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uplot.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
"""uPlot 1.6.32, MIT, as its author publishes it."""
LARGEST = 120_000


def test_vendored_files_are_the_published_ones():
    for name, digest in VENDORED.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest, name
    assert "v1.6.32" in (STATIC / "uplot.min.js").read_text()[:60]
    assert "MIT License" in (STATIC / "uplot.LICENSE").read_text()


def test_static_files_are_small():
    sizes = {path.name: path.stat().st_size for path in (*STATIC.iterdir(), *LOOK.iterdir())}
    assert sum(sizes.values()) <= LARGEST, sizes


def test_nothing_comes_from_elsewhere_and_nothing_is_inline():
    own = [*STATIC.glob("page*"), *STATIC.glob("plots*"), *LOOK.iterdir()]
    for path in [*(HERE / "templates").iterdir(), *own]:
        text = path.read_text()
        assert not re.search(r"(https?:)?//[a-z]", text.replace('xmlns="http://', "")), path.name
        if path.suffix == ".html":
            assert not re.search(r"\son[a-z]+=|\sstyle=|<style|javascript:", text), path.name
            assert not re.search(r"<script(?![^>]*\ssrc=)", text), path.name
            assert "|safe" not in text, path.name
