"""Loaded by the workers of one test box alone: captures of certain names poison their analysis."""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any


def _memory() -> None:
    hoard = []
    while True:
        hoard.append(bytearray(16 << 20))


def _spin() -> None:
    while True:
        pass


def _hang() -> None:
    threading.Event().wait()


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


_POISON = {"memory": _memory, "spin": _spin, "hang": _hang, "crash": _crash}


class _Poisoner(MetaPathFinder):
    """Puts the poison into `edge_daemon.analysis` when it is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "edge_daemon.analysis":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            healthy = module.Analyst.__call__

            def call(self: Any, task: Any) -> Any:
                kind = task.name.partition("-")[0]
                if kind in _POISON:
                    _POISON[kind]()
                return healthy(self, task)

            module.Analyst.__call__ = call

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _Poisoner())
