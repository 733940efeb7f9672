"""Fork servers that all rows share: each takes a second to import the service."""

import pytest

from tests.faults.bench import fork_servers


@pytest.fixture(scope="session")
def zygotes():
    with fork_servers() as started:
        yield started
