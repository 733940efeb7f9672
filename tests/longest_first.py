"""Which core runs which file, and when: the longest first, so that no core is idle at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

TOGETHER = ("tests/training/",)
"""Folders whose files share what is made once for a session: a bundle that was trained."""
LONGEST = (
    "tests/faults/test_rows.py",
    "tests/training/",
    "tests/web/browser/test_pages.py",
    "tests/packaging/test_deb.py",
    "tests/aarch64/test_same_classes.py",
    "tests/fuzz/test_fuzz.py",
    "tests/faults/test_checks_bite.py",
    "tests/central/test_client.py",
    "tests/runtime/test_service.py",
    "tests/central/fleet/browser/test_fleet_pages.py",
    "tests/web/browser/test_tasks.py",
    "tests/budgets/test_service.py",
    "tests/store/test_recovery.py",
    "tests/central/fleet/test_page.py",
    "tests/classify/test_explain.py",
    "tests/store/test_power_cut.py",
    "tests/central/test_campaign.py",
    "tests/cli/test_demo.py",
    "tests/cli/test_end_to_end.py",
    "tests/store/test_migrate.py",
)
"""What takes longest, longest first (`--durations=0`); the others follow by number of tests."""


class LongestFirst(LoadFileScheduling):
    """`--dist loadfile`, in an order of our own."""

    def _split_scope(self, nodeid: str) -> str:
        """What runs one after the other on one core: a file, or a folder."""
        file = nodeid.split("::", 1)[0]
        return next((folder for folder in TOGETHER if file.startswith(folder)), file)

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a core the longest that is left."""
        known = [name for name in LONGEST if name in self.workqueue]
        if known:
            self.workqueue.move_to_end(known[0], last=False)
        super()._assign_work_unit(node)
