"""Pictures of the guide, taken of a simulated practice in the real page.

``python tests/web/browser/shots.py`` makes them again, into ``edge_daemon/docs/guide/pictures``.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

REPOSITORY = Path(__file__).resolve().parents[3]
PICTURES = REPOSITORY / "edge_daemon" / "docs" / "guide" / "pictures"
LARGEST, TOGETHER = 120_000, 600_000
READY = """() => !document.querySelector("[data-working]") &&
    [...document.querySelectorAll("[data-pictures], [data-trends], [data-chart], [data-pairs]")]
        .every(s => s.dataset.drawn)"""


@dataclass(frozen=True)
class Shot:
    """One picture: where, what of the page (selector; the top of the window if empty), how high."""

    name: str
    path: str
    selector: str = ""
    height: int = 560
    media: str = "screen"
    width: int = 900


SHOTS = (
    Shot("list", "/", height=560, width=1120),
    Shot("search", "/?q=yesterday+cat", height=360, width=1120),
    Shot("values", "/results/{minka}", "section[aria-labelledby=values-title]", 560),
    Shot("cells", "/results/{bello}", "section.plots", 640, width=1000),
    Shot("flags", "/results/{minka}", "section[aria-labelledby=flags-title]", 380),
    Shot("trend", "/results/{bello}", "section.trend", 520),
    Shot(
        "correct",
        "/results/{rex}/amend?what=correct",
        "section[aria-labelledby=correct-title]",
        740,
    ),
    Shot(
        "note",
        "/results/{minka}/amend?what=note",
        "section[aria-labelledby=note-title]",
        560,
        width=700,
    ),
    Shot("print", "/results/{sturmwind}", height=900, media="print", width=720),
    Shot("quality", "/quality", height=760),
    Shot("device", "/device", height=480),
    Shot("sign-in", "/sign-in", height=340, width=700),
)


def take(page: Page, url: str, shot: Shot, runs: dict[str, int], folder: Path) -> Path:
    """Take one picture and return its file."""
    # High enough for the whole page: taking a part of it then needs no other size.
    high = 4000 if shot.selector else shot.height
    page.set_viewport_size({"width": shot.width, "height": high})
    page.emulate_media(media=shot.media, color_scheme="light")
    page.goto(url.rstrip("/") + shot.path.format(**runs))
    page.wait_for_function(READY)
    if shot.name == "cells":
        page.get_by_label("lay over").check()
    clip = {"x": 0, "y": 0, "width": shot.width, "height": shot.height}
    if shot.selector:
        box = page.locator(shot.selector).bounding_box()
        assert box is not None, shot.selector
        clip = {
            "x": max(0, box["x"] - 8),
            "y": box["y"],
            "width": min(shot.width, box["width"] + 16),
            "height": min(shot.height, box["height"] + 8),
        }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{shot.name}.png"
    taken = page.screenshot(clip=clip, animations="disabled")
    # A palette takes half the bytes; this one keeps rare colours, which name the classes of cells.
    image = Image.open(io.BytesIO(taken)).convert("RGB")
    image.quantize(256, Image.Quantize.MAXCOVERAGE).save(file, optimize=True)
    return file


def main() -> None:
    """Make all pictures again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--practice", type=Path, help="keep the practice in this folder, or use it")
    parser.add_argument("names", nargs="*", help="only these pictures")
    wanted = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    from playwright.sync_api import sync_playwright
    from practice import furnish, runs_of, serve

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = wanted.practice or Path(scratch)
        if not (folder / "data").is_dir():
            folder.mkdir(exist_ok=True)
            furnish(folder / "data")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(120_000)
        with serve(folder) as url:
            for shot in [s for s in SHOTS if not wanted.names or s.name in wanted.names]:
                file = take(page, url, shot, runs_of(folder / "data"), PICTURES)
                sys.stdout.write(f"{file.name:<16}{file.stat().st_size / 1000:8.1f} kB\n")
        browser.close()


if __name__ == "__main__":
    main()
