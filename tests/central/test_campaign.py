"""The campaign of sync in small, and that its comparison finds what it looks for."""

from __future__ import annotations

import pytest

from edge_daemon.canonical import digest
from tests.central.campaign import FULL, SEED, SHORT, Verdict, campaign, check
from tests.central.centre import scratch_postgres


def test_bad_lines_and_kills_of_everything_lose_and_double_nothing():
    with scratch_postgres("campaign") as (folder, postgres):
        verdict, row = campaign(folder, postgres, SHORT, SEED)
    assert verdict.sound, (verdict, row)
    assert verdict.results == SHORT.results


@pytest.mark.campaign
def test_ten_thousand_results_over_bad_lines():
    with scratch_postgres("campaign") as (folder, postgres):
        verdict, row = campaign(folder, postgres, FULL, SEED)
    assert verdict.sound, (verdict, row)
    assert verdict.results == FULL.results == 10_000


BODY = '{"run":1}'
KEY = digest(BODY)


@pytest.mark.parametrize(
    ("kept", "there", "found"),
    [
        ([(KEY, "stored")], [(KEY, BODY)], (0, 0, 0)),
        ([(KEY, "stored")], [], (1, 0, 0)),
        ([(KEY, "stored")], [(KEY, BODY), (KEY, BODY)], (0, 1, 0)),
        ([(KEY, "waiting")], [(KEY, BODY)], (0, 0, 1)),
        ([(KEY, "dead")], [(KEY, BODY)], (0, 0, 1)),
        ([(KEY, "stored")], [(KEY, BODY), ("0" * 64, BODY)], (0, 0, 2)),
        ([(KEY, "stored")], [(KEY, '{"run":2}')], (0, 0, 1)),
    ],
)
def test_the_comparison_finds_what_is_wrong(kept, there, found):
    verdict = Verdict()
    check(kept, there, verdict)
    assert (len(verdict.lost), len(verdict.twice), len(verdict.problems)) == found
    assert verdict.sound is (found == (0, 0, 0))


def test_a_comparison_of_nothing_is_not_sound():
    assert not Verdict().sound
