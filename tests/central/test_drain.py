"""What waited while the line was down is sent over a narrow one, and the page goes on."""

from __future__ import annotations

import pytest

from tests.benchmarks.drain import RESULTS, drain, missing
from tests.central.centre import scratch_postgres


@pytest.fixture
def narrow():
    if reason := missing():
        pytest.skip(f"system: {reason}")


def test_a_narrow_line_takes_what_waited_while_the_page_is_read(tmp_path, narrow):
    found = drain(
        tmp_path, f"sqlite:///{tmp_path / 'c.sqlite3'}", count=150, kbit_s=1000, before_s=0.5
    )
    assert found.results == 150
    assert found.pages_during > 0
    # 150 documents take at least this long at 1 Mbit/s: the line was as narrow as it should be.
    assert found.seconds > 150 * 300 * 8 / 1e6


@pytest.mark.campaign
@pytest.mark.parametrize(("kbit_s", "most_s"), [(None, 10.0), (1000, 600.0)])
def test_twenty_eight_days_are_sent_in_time(tmp_path, narrow, kbit_s, most_s):
    with scratch_postgres("drain") as (_, postgres):
        found = drain(tmp_path, postgres.make("drain"), count=RESULTS, kbit_s=kbit_s)
    assert found.seconds < most_s
    assert found.page_during_ms < 2 * found.page_before_ms + 20
