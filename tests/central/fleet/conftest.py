"""A centre's database with a fleet in it."""

from __future__ import annotations

from contextlib import closing

import pytest

from edge_daemon.central.reading import EVERYTHING, Reader, Scope
from edge_daemon.central.store import CentralStore
from tests.central.fleet.world import World


@pytest.fixture
def url(database, tmp_path):
    return database or f"sqlite:///{tmp_path / 'central.sqlite3'}"


@pytest.fixture
def world(url):
    with closing(CentralStore(url)) as store:
        store.create()
        yield World(store)


@pytest.fixture
def ask(url, world):
    """Ask a question for the operator, or for some clinics."""
    with closing(Reader(url)) as reader:

        def call(question, *words, clinics=None, **more):
            scope = EVERYTHING if clinics is None else Scope(frozenset(clinics))
            with reader.reading(scope) as db:
                return question(db, scope, *words, **more)

        call.reader = reader
        yield call
