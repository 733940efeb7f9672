"""The updates of a box in words, for `update status`, the status of the box and the centre."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_daemon.errors import EdgeError
from edge_daemon.updates.errors import REASONS
from edge_daemon.updates.folder import UpdateFolder
from edge_daemon.updates.state import SHADOW_SAMPLES, State

if TYPE_CHECKING:
    from pathlib import Path

    from edge_daemon.updates.state import Slot


def describe(data_dir: Path) -> dict[str, Any]:
    """Say which updates are in use, which wait, and what came of the last look."""
    folder = UpdateFolder(data_dir)
    damaged = ""
    try:
        state = folder.read()
    except EdgeError as error:
        state, damaged = State(), error.message
    broken = {
        key
        for key, slot in state.slots.items()
        if slot.active is not None and not folder.sound(key, slot.active)
    }
    code = str(state.checked.get("code") or "")
    return {
        "damaged": damaged,
        "code": code,
        "message": state.checked.get("message") or "",
        "action": REASONS.get(code, ""),
        "tried": state.checked.get("tried"),
        "done": state.checked.get("done"),
        "unneeded": state.checked.get("unneeded") or [],
        "expires": state.checked.get("expires") or {},
        "items": [
            _item(key, slot, damaged=key in broken) for key, slot in sorted(state.slots.items())
        ],
    }


def word(data_dir: Path) -> dict[str, Any]:
    """Say of each item what the central server goes by; losable, and free of names."""
    found = describe(data_dir)
    items = [
        {
            "item": item["item"],
            "version": item["version"],
            "candidate": item["candidate"],
            "samples": item["shadow_samples"] or 0,
            "blocked": [blocked["version"] for blocked in item["blocked"]],
        }
        for item in found["items"]
    ]
    return {"items": items, "unneeded": found["unneeded"]}


def _item(key: str, slot: Slot, *, damaged: bool) -> dict[str, Any]:
    seen = None if slot.shadow is None else len(slot.shadow.samples)
    found: dict[str, Any] = {
        "item": key,
        "version": None if slot.active is None else slot.active.version,
        "sha256": None if slot.active is None else slot.active.sha256,
        "stage": stage_of(slot),
        "fallback": None if slot.fallback is None else slot.fallback.version,
        "candidate": None if slot.candidate is None else slot.candidate.version,
        "shadow_samples": seen,
        "damaged": damaged,
        "blocked": [
            {"sha256": k[:12], "version": why.partition(":")[0], "reason": why}
            for k, why in slot.blocked.items()
        ],
    }
    return {**found, "lines": _lines(found)}


def stage_of(slot: Slot) -> str:
    """One word: ``shadow``, ``waiting``, ``watched``, ``in_use``, ``own``."""
    if slot.candidate is not None:
        return "waiting" if slot.shadow is None else "shadow"
    if slot.active is None:
        return "own"
    return "in_use" if slot.watch is None else "watched"


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    own = "as it ships or as this site has it"
    rows = [("in use", f"{found['version'] or own}")]
    if found["damaged"]:
        rows.append(("Problem", "its files are damaged and not used; look for updates again"))
    if found["stage"] == "watched":
        rows.append(("watched", f"goes back to {found['fallback'] or own} if captures fail"))
    if found["candidate"]:
        how = (
            "waits"
            if found["shadow_samples"] is None
            else f"{found['shadow_samples']} of {SHADOW_SAMPLES} samples compared"
        )
        rows.append(("next", f"{found['candidate']}: {how}"))
    rows += [("blocked", f"{b['sha256']}: {b['reason']}") for b in found["blocked"]]
    return rows
