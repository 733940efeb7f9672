from __future__ import annotations

import pytest

from edge_daemon.store.sqlite_version import has_wal_reset_bug


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),  # Debian 12
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 46, 1), True),  # Debian 13
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_the_versions_with_the_bug(version, affected):
    assert has_wal_reset_bug(version) is affected


def test_the_engine_in_use_is_judged_unless_one_is_given():
    assert isinstance(has_wal_reset_bug(), bool)
