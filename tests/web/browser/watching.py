"""Pages in a real Chromium, watched for what they ask and complain of; names hard to show."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

FLAGS = (
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ARTIFACTS = Path(__file__).resolve().parents[3] / "artifacts" / "web"
KEEP = os.environ.get("EDGE_KEEP_PICTURES") == "1"
WIDE, NARROW = (1280, 900), (390, 844)
DRAWN = "[data-pictures], [data-trends], [data-chart], [data-pairs]"
"""What a script draws a plot into."""

SCRIPTS = (
    "Ζεύς",
    "Жучка",
    "كلب",
    "כלב",
    "ไข่มุก",
    "ポチ",
    "小白",
    "바둑이",
    "Ó Brádaigh’s Fiadh",
    "🐶 Rex",
)
HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">"\'&amp;'
LONG = "Bartholomäus-von-und-zu-" * 8 + "Ende"


@contextmanager
def start_chromium():
    """Start Debian's own Chromium; nothing is downloaded."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if program is None:
        pytest.skip("system: no chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


class Watched:
    """A page whose console and requests are watched."""

    def __init__(self, context, origin):
        self.page = context.new_page()
        self.origin = origin
        self.complaints = []
        self.elsewhere = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _request(self, request):
        if not request.url.startswith((self.origin, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def go(self, path):
        answer = self.page.goto(self.origin.rstrip("/") + path)
        assert answer.ok, f"{path}: {answer.status}"
        self.drawn()
        return self.page

    def drawn(self):
        """Wait until nothing of the page is being worked out, and its plots are drawn."""
        self.page.wait_for_function("() => !document.querySelector('[data-working]')")
        if self.page.locator(DRAWN).count():
            self.page.wait_for_function(
                f"() => [...document.querySelectorAll('{DRAWN}')].every(s => s.dataset.drawn)"
            )

    def keep(self, name):
        """Keep a picture of the whole page for people to look at, if they want to."""
        if KEEP:
            ARTIFACTS.mkdir(parents=True, exist_ok=True)
            file = ARTIFACTS / (re.sub(r"[^\w-]+", "-", name) + ".png")
            self.page.screenshot(path=file, full_page=True)

    def is_clean(self):
        assert not self.complaints
        assert not self.elsewhere
