"""One peer in a process of its own: ``peer.py NAME ROUNDS FOLDER`` prints its CPU time as JSON.

Needs numpy and the peer's own library, nothing of the product, so that it may run in another
environment. FOLDER holds what `peers.py` wrote: ``runs.npz``, ``operations.json`` and
``constants.npz``.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = 5
FLOOR = 1e-3
TINY = 1e-12


def runs(folder: Path) -> list[tuple[Any, Any]]:
    """Signals ``(events, channels)`` and red-cell peak of each run."""
    with np.load(folder / "runs.npz") as held:
        return [(held[f"signals{i}"], held[f"peak{i}"]) for i in range(len(held.files) // 2)]


def logs(signals: Any, peak: Any) -> Any:
    """What every method that learns from each sample by itself is given."""
    return np.log(np.maximum(signals / peak, FLOOR))


def torch_eager(folder: Path) -> tuple[str, Callable[[Any, Any], Any]]:
    """The same two networks in float, one operation after the other."""
    import torch

    torch.set_num_threads(1)
    graphs = json.loads((folder / "operations.json").read_text())
    with np.load(folder / "constants.npz") as held:
        constants = {name: torch.from_numpy(held[name]) for name in held.files}

    def dims(node: dict[str, Any]) -> int:
        return node["axes"][0] if node["axes"] else node["axis"]

    def gemm(node: dict[str, Any], a: Any, b: Any, c: Any) -> Any:
        a, b = (a.T if node["transA"] else a), (b.T if node["transB"] else b)
        return torch.addmm(c, a, b) if c is not None else a @ b

    kinds: dict[str, Callable[..., Any]] = {
        "Div": lambda _, a, b: a / b,
        "Mul": lambda _, a, b: a * b,
        "Add": lambda _, a, b: a + b,
        "Sub": lambda _, a, b: a - b,
        "Max": lambda _, a, b: torch.maximum(a, b),
        "Log": lambda _, a: torch.log(a),
        "Exp": lambda _, a: torch.exp(a),
        "Sqrt": lambda _, a: torch.sqrt(a),
        "Reciprocal": lambda _, a: torch.reciprocal(a),
        "Relu": lambda _, a: torch.relu(a),
        "Clip": lambda _, a, low, high: torch.clamp(a, low, high),
        "Gather": lambda n, a, i: torch.index_select(a, n["axis"], i),
        "Concat": lambda n, *parts: torch.cat(parts, dim=n["axis"]),
        "MatMul": lambda _, a, b: a @ b,
        "Gemm": lambda n, a, b, c=None: gemm(n, a, b, c),
        "Softmax": lambda n, a: torch.softmax(a, dim=n["axis"]),
        "Unsqueeze": lambda _, a, axes: a.unsqueeze(int(axes[0])),
        "ReduceSum": lambda _, a, axes: torch.sum(a, dim=axes.tolist(), keepdim=True),
        "ReduceMax": lambda n, a: torch.amax(a, dim=dims(n), keepdim=True),
        "Transpose": lambda _, a: a.T,
    }

    def run(stage: str, signals: Any, peak: Any) -> Any:
        values = {"logs": torch.log(torch.clamp(signals.T, min=TINY)), "peak": peak}
        prefix = f"{stage}/"
        for node in graphs[stage]:
            given = [values[n] if n in values else constants[prefix + n] for n in node["in"]]
            values[node["out"]] = kinds[node["op"]](node, *given)
        return values["posterior"].T

    def work(signals: Any, peak: Any) -> Any:
        with torch.inference_mode():
            every, top = torch.from_numpy(signals), torch.from_numpy(peak)
            first = run("stage1", every, top)
            red = first[:, 0] > FLOOR
            second = run("stage2", every[red], top)
            return first.numpy(), second.numpy(), red.numpy()

    return torch.__version__, work


def gaussian_mixture(_: Path) -> tuple[str, Callable[[Any, Any], Any]]:
    """A mixture of five normal distributions fitted to each sample by itself."""
    import sklearn
    from sklearn.mixture import GaussianMixture

    def work(signals: Any, peak: Any) -> Any:
        mixture = GaussianMixture(CLASSES, random_state=0)
        return mixture.fit_predict(logs(signals, peak))

    return sklearn.__version__, work


def flowsom_map(_: Path) -> tuple[str, Callable[[Any, Any], Any]]:
    """A self-organising map of each sample by itself, with its usual settings."""
    from importlib.metadata import version

    import anndata
    import flowsom

    def work(signals: Any, peak: Any) -> Any:
        table = anndata.AnnData(logs(signals, peak).astype(np.float64))
        table.var["channel"] = table.var["marker"] = list(table.var_names)
        found = flowsom.FlowSOM(table, n_clusters=CLASSES, xdim=10, ydim=10, seed=0)
        return np.asarray(found.get_cell_data().obs["metaclustering"])

    return version("flowsom"), work


PEERS = {"torch": torch_eager, "mixture": gaussian_mixture, "flowsom": flowsom_map}


def main() -> None:
    """Time one peer."""
    name, rounds, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    warnings.simplefilter("ignore")
    try:
        version, work = PEERS[name](folder)
    except ImportError as error:
        sys.stdout.write(json.dumps({"missing": f"{error.name or error} is not installed"}))
        return
    given = runs(folder)
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        found = [work(*run) for run in given]
        best = min(best, time.process_time() - begin)
    if name == "torch":  # the parent checks that the networks are the same
        np.savez(folder / "torch.npz", first=found[0][0], second=found[0][1], red=found[0][2])
    sys.stdout.write(json.dumps({"version": version, "cpu_s": best / len(given)}))


if __name__ == "__main__":
    main()
