"""The service's sync thread on a box that has no server."""

import threading
from types import SimpleNamespace

from edge_daemon.sync import part
from edge_daemon.sync.part import SyncPart


class Wake(threading.Event):
    """Waits no longer, and notes whether it was set."""

    def __init__(self):
        super().__init__()
        self.found = []

    def wait(self, timeout=None):
        self.found.append(self.is_set())
        return self.is_set()


def test_one_errand_wakes_a_box_that_is_not_enrolled_once(tmp_path, monkeypatch):
    """It had looked for an identity without a pause ever after."""
    settings = SimpleNamespace(box=SimpleNamespace(data_dir=tmp_path))
    log = SimpleNamespace(forget=lambda _: None)
    sync = SyncPart(settings, None, SimpleNamespace(monotonic=lambda: 0.0), log, dict)
    sync._wake = wake = Wake()
    looks = []

    def look(_):
        looks.append(1)
        if len(looks) == 3:
            sync._stopping.set()

    monkeypatch.setattr(part, "load", look)
    sync.wake()
    sync._run()
    assert wake.found == [True, False, False]
