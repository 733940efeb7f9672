"""The pictures in the documentation are of the real page, with simulated animals.

``EDGE_WRITE_PICTURES=1 pytest tests/web/browser/test_pictures.py`` makes them anew.
"""

import os
import struct

import pytest

from edge_daemon.resources import docs_dir

IMAGES = docs_dir() / "images"
LARGEST = 200_000
PICTURES = {
    "page-list.png": ("/?q=sim", (1180, 460), None),
    "page-result.png": ("/results/{cat}", (1180, 1080), None),
    "page-cells.png": ("/results/{cat}", (900, 800), ".plots"),
    "page-phone.png": ("/results/{dog}", (390, 800), None),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture(visit, clinic, name, tmp_path):
    path, size, part = PICTURES[name]
    watched = visit(size)
    page = watched.go(path.format(**clinic.runs))
    if part:
        page.get_by_label("lay over").check()
    shot = page.locator(part).screenshot() if part else page.screenshot()
    assert len(shot) < LARGEST
    if os.environ.get("EDGE_WRITE_PICTURES") == "1":
        IMAGES.mkdir(exist_ok=True)
        (IMAGES / name).write_bytes(shot)
    stored = (IMAGES / name).read_bytes()
    assert len(stored) < LARGEST
    assert stored.startswith(b"\x89PNG")
    assert struct.unpack(">I", stored[16:20]) == struct.unpack(">I", shot[16:20])
