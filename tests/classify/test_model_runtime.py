"""The model runtime says nothing of graphics cards, and everything else it has to say."""

import subprocess
import sys

import pytest

from edge_daemon.sandbox import landlock

CONFINED = """
from edge_daemon.sandbox import confine
confine([])
import edge_daemon.classify.session
"""
TOLD = """
import os
from edge_daemon.classify.model_runtime import _without
with _without(b"GPU device discovery failed"):
    os.write(2, b"[W] GPU device discovery failed: no permission\\n[E] a real error\\n")
os.write(2, b"said later\\n")
"""


def stderr_of(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return done.stderr


@pytest.mark.skipif(landlock.abi() == 0, reason="system: this kernel has no Landlock")
def test_confined_process_loads_the_runtime_in_silence():
    assert stderr_of(CONFINED) == b""


def test_only_the_remark_is_held_back():
    assert stderr_of(TOLD) == b"[E] a real error\nsaid later\n"


def test_a_process_without_stderr_can_load_the_runtime():
    code = "import os\nos.close(2)\nimport edge_daemon.classify.session"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
