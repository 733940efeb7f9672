"""Load profiles and prove models in a process of its own, and print what was found as JSON.

``python -m edge_daemon.doctor.probe '{"profiles": [...], "models": [...]}'``. A processor that
the model runtime does not fit ends this process with SIGILL, and not the one that asks.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from edge_daemon.resources import models_dir


def main() -> None:
    """Check the folders named in ``argv[1]``."""
    asked = json.loads(sys.argv[1])
    # Imported here: whatever they do to the process, they do after it was started.
    from edge_daemon.classify.bundle import BundleShelf  # noqa: PLC0415
    from edge_daemon.classify.session import runtime_version  # noqa: PLC0415
    from edge_daemon.decode.registry import Registry  # noqa: PLC0415

    registry = Registry.load([Path(folder) for folder in asked["profiles"]])
    shelf = BundleShelf.load([Path(folder) for folder in asked["models"]])
    shipped = [b for b in shelf.bundles.values() if b.path.is_relative_to(models_dir())]
    runtime = runtime_version()
    found = {
        "profiles": len(registry.profiles),
        "broken_profiles": [problem.message for problem in registry.problems],
        "bundles": sorted(shelf.bundles),
        "broken_bundles": [problem.message for problem in shelf.problems],
        "runtime": runtime,
        "locked": max((b.manifest.runtime.onnxruntime for b in shipped), default=runtime),
        "telemetry_off": os.environ.get("ORT_DISABLE_TELEMETRY") == "1",
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
