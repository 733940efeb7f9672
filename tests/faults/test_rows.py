"""Every row of the fault matrix in its short size; `python -m tests.faults` runs the full one."""

from __future__ import annotations

import pytest

from tests.faults.rows import ROWS, run_row

SEED = 20261128


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_nothing_is_lost_nothing_comes_twice_and_it_serves_again(row, tmp_path, zygotes):
    if reason := row.missing():
        pytest.skip(reason)
    folder = tmp_path / row.name
    record = run_row(row, folder, SEED, full=False, zygotes=zygotes, say=print)
    assert record.problems == []
    assert (record.lost, record.duplicated) == (0, 0)
    assert record.trials > 0
