"""Real Chromium on the fleet's page."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import pytest

from edge_daemon.central.store import CentralStore
from edge_daemon.central.users import Users
from tests.central.fleet.furnished import furnish, numbers
from tests.central.fleet.visiting import PASSWORD, served
from tests.web.browser.watching import WIDE, Watched, start_chromium


@pytest.fixture(scope="module")
def chromium():
    with start_chromium() as browser:
        yield browser


@dataclass
class Fleet:
    url: str
    boxes: dict[str, str]
    results: dict[str, int]
    users: Users

    def session(self, name):
        return self.users.open_session(self.users.sign_in(name, PASSWORD))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A furnished fleet, served."""
    url = f"sqlite:///{tmp_path_factory.mktemp('fleet') / 'central.sqlite3'}"
    with closing(CentralStore(url)) as store:
        store.create()
        boxes = furnish(store)
        with served(store, url, name="Vets by the sea") as address:
            yield Fleet(address, boxes, numbers(url), Users(store.engine))


@pytest.fixture
def visit(chromium, fleet):
    """Open the page, signed in unless nobody is; in the end console and network must be clean."""
    opened = []

    def open_page(size=WIDE, scheme="light", user="ops"):
        width, height = size
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        context.set_default_timeout(60_000)
        if user is not None:
            token = {"name": "edge_fleet", "value": fleet.session(user), "url": fleet.url}
            context.add_cookies([token])
        watched = Watched(context, fleet.url)
        opened.append((context, watched))
        return watched

    yield open_page
    for context, watched in opened:
        watched.is_clean()
        context.close()
