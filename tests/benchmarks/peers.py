"""Everything a worker does with a run, beside what others need for less, in the same minute.

``python tests/benchmarks/peers.py [--events N] [--runs N] [--rounds N] [--python FILE] [--json]``

Peers: the two graphs alone in onnxruntime, as the product runs them and with the runtime's own
settings; the same networks without quantization; the same in PyTorch, one operation after the
other; and two methods that learn from each sample by itself, a Gaussian mixture (scikit-learn) and
FlowSOM. PyTorch and FlowSOM are the extra ``bench``; ``--python`` names the interpreter of an
environment that has them. A peer that is not installed is left out with a reason. One thread each;
CPU time a run, best of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy: threads that wait for work cost time too
import numpy as np
import onnxruntime as ort
from plain_graph import operations, without_quantization

from edge_daemon import bench
from edge_daemon.classify.calibrate import red_cell_peak
from edge_daemon.classify.columns import channels_of
from edge_daemon.classify.runtime import RED_FLOOR
from edge_daemon.classify.session import Stages, logarithms
from edge_daemon.pipeline import default_plan

STAGES = ("stage1", "stage2")
OURS = "everything from bytes to pictures"
PURE = "int8 graphs alone, as the product runs them"
PATIENCE_S = 1800


def arrays(run: bench.Run) -> tuple[Any, Any]:
    signals = channels_of(run.batch, run.bundle.channels)
    peak = red_cell_peak(signals, run.bundle.channels, run.bundle.manifest.input.anchor)
    return np.ascontiguousarray(signals), peak


def plain_session(model: bytes) -> ort.InferenceSession:
    """The runtime's own settings, but one thread as everywhere here."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def at_once(models: Sequence[bytes], runs: Sequence[bench.Run]) -> Callable[[], object]:
    """Both graphs over whole arrays, with the runtime's own settings."""
    sessions = [plain_session(model) for model in models]
    given = [(*arrays(run), run.calls.posterior[:, :3].sum(axis=1) > RED_FLOOR) for run in runs]
    given = [(every, np.ascontiguousarray(every[red]), peak) for every, peak, red in given]

    def work() -> None:
        for every, red, peak in given:
            for session, rows in zip(sessions, (every, red), strict=True):
                session.run(["posterior"], {"logs": logarithms(rows), "peak": peak})

    return work


def write_inputs(folder: Path, runs: Sequence[bench.Run], floats: Sequence[Any]) -> None:
    """Leave what `peer.py` reads."""
    held: dict[str, Any] = {}
    for i, run in enumerate(runs):
        held[f"signals{i}"], held[f"peak{i}"] = arrays(run)
    np.savez(folder / "runs.npz", **held)
    graphs, constants = {}, {}
    for stage, proto in zip(STAGES, floats, strict=True):
        graphs[stage], own = operations(proto)
        constants |= {f"{stage}/{name}": value for name, value in own.items()}
    (folder / "operations.json").write_text(json.dumps(graphs))
    np.savez(folder / "constants.npz", **constants)


def peer(name: str, rounds: int, folder: Path, python: str) -> dict[str, Any]:
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment |= {"NUMBA_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, str(Path(__file__).with_name("peer.py")), name, str(rounds), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env=environment,
    )
    if done.returncode:
        return {"missing": done.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout))


def torch_agrees(folder: Path, runs: Sequence[bench.Run], models: Sequence[bytes]) -> float:
    """Largest difference of PyTorch's posteriors from the runtime's: is it the same network?"""
    every, peak = arrays(runs[0])
    with np.load(folder / "torch.npz") as held:
        found, second, red = held["first"], held["second"], held["red"]
    first, other = (
        plain_session(model).run(["posterior"], {"logs": logarithms(rows), "peak": peak})[0].T
        for model, rows in zip(models, (every, every[red]), strict=True)
    )
    return float(max(np.abs(first - found).max(), np.abs(other - second).max()))


def compare(events: int, count: int, rounds: int, python: str) -> list[dict[str, Any]]:
    """Measure everything."""
    runs = bench.prepare(bench.simulated(events, count), default_plan())
    bundle = runs[0].bundle
    int8 = (bundle.stage1, bundle.stage2)
    protos = [without_quantization(model) for model in int8]
    floats = [proto.SerializeToString() for proto in protos]
    graphs, twins = Stages(*int8, "int8"), Stages(*floats, "float")
    rows = [
        {"part": OURS, "cpu_s": _stage(bench.measure_stages(runs, rounds), "all stages")},
        {"part": PURE, "cpu_s": _each(bench.pure_inference(runs, graphs), runs, rounds)},
        {"part": "float graphs alone, likewise",
         "cpu_s": _each(bench.pure_inference(runs, twins), runs, rounds)},
        {"part": "int8 graphs, whole arrays, the runtime's own settings",
         "cpu_s": bench.best_cpu(at_once(int8, runs), rounds) / count},
        {"part": "float graphs, whole arrays, the runtime's own settings",
         "cpu_s": bench.best_cpu(at_once(floats, runs), rounds) / count},
    ]  # fmt: skip
    named = {
        "torch": "the same float networks in PyTorch, eager",
        "mixture": "a Gaussian mixture fitted to each sample (scikit-learn)",
        "flowsom": "FlowSOM fitted to each sample",
    }
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_inputs(folder, runs, protos)
        for name, part in named.items():
            few = rounds if name == "torch" else 1  # minutes otherwise
            found = peer(name, few, folder, sys.executable)
            if "missing" in found:
                found = peer(name, few, folder, python)
            rows.append({"part": part, **found})
            if name == "torch" and "cpu_s" in found:
                rows[-1]["largest_difference"] = torch_agrees(folder, runs, floats)
    for row in rows:
        if "cpu_s" in row:
            row["times_ours"] = row["cpu_s"] / rows[0]["cpu_s"]
    return rows


def _stage(stages: Sequence[bench.StageTime], name: str) -> float:
    return next(row.cpu_s for row in stages if row.stage == name)


def _each(work: Callable[[bench.Run], object], runs: Sequence[bench.Run], rounds: int) -> float:
    return bench.best_cpu(lambda: [work(run) for run in runs], rounds) / len(runs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000, help="in each run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5, help="of which the best counts")
    parser.add_argument("--python", default=sys.executable, help="that has torch and flowsom")
    parser.add_argument("--json", action="store_true", help="one JSON array")
    asked = parser.parse_args()
    rows = compare(asked.events, asked.runs, asked.rounds, asked.python)
    if asked.json:
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    for row in rows:
        figure = (
            f"{1000 * row['cpu_s']:10.1f} ms{row['times_ours']:8.2f} × ours"
            if "cpu_s" in row
            else f"  left out: {row['missing']}"
        )
        sys.stdout.write(f"{row['part']:58}{figure}\n")


if __name__ == "__main__":
    main()
