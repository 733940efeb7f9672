"""The Debian package on a real Debian: installed, upgraded, downgraded, removed, purged.

A campaign: every test boots a box of its own, without a network, and installs in it.
"""

from __future__ import annotations

import json

import pytest

from edge_daemon.simulator.cohort import sample

from .conftest import CONFIG, DATA, UNIT, take, wait

pytestmark = pytest.mark.campaign

ENVIRONMENTS = "/opt/edge-daemon.d"


def set_up(box, which):
    """Install, configure and start."""
    code, said = box.install(which)
    assert code == 0, said
    box.configure()
    box.run("systemctl", "start", UNIT)
    wait(box.active)


def environments(box):
    return box.run("ls", ENVIRONMENTS).split()


def results(box):
    """Every result with its values, as this version writes them."""
    said = box.edge("results", "--json", "--data-dir", DATA)
    return [(r["id"], r["sha256"], r["counts"], r["measurements"]) for r in json.loads(said)]


def version(box):
    return box.run("dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}", "edge-daemon")


def test_it_is_installed_without_a_network_and_waits_to_be_configured(bare):
    code, said = bare.install("now")
    assert code == 0, said
    print(said)  # noqa: T201 - what an installer reads
    assert "edge-daemon config init" in said
    assert bare.run("systemctl", "is-enabled", UNIT) == "enabled"
    assert (bare.show("ActiveState"), bare.show("Result")) == ("inactive", "success")
    assert bare.run("stat", "-c", "%U %a", DATA) == "edge-daemon 750"
    assert bare.run("edge-daemon", "--version").startswith("edge-daemon 0.")
    # It names every line of a rule that it cannot read.
    code, said, err = bare.call("udevadm", "test", "/sys/class/mem/null")
    assert "60-edge-daemon.rules" in err
    assert "60-edge-daemon.rules:" not in said + err
    bare.drop("0.fcs", sample(0, events=2000, seed=0, firmware="1.0").data)
    words = ("config", "init", "--folder", "/srv/analyzer", "--yes", "--name", "analyzer-1")
    code, said, err = bare.call("edge-daemon", *words)
    print(said)  # noqa: T201 - what an installer reads
    assert code == 0, err
    assert "1 file seen, 1 decoded, 1 classified" in said
    assert "The technician's page: http://127.0.0.1:8470/" in said
    assert bare.active()
    wait(lambda: bare.results() == 1)
    page = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8470/').status)"
    assert bare.run("/opt/edge-daemon/bin/python", "-c", page) == "200"
    print(f"result after {take(bare, 1):.1f} s")  # noqa: T201 - a figure of the campaign
    taken = bare.run("du", "-sm", ENVIRONMENTS, "/usr/lib/edge-daemon").split()
    print(f"installed: environment {taken[0]} MB, wheels {taken[2]} MB")  # noqa: T201 - a figure of the campaign
    assert int(taken[0]) + int(taken[2]) <= 230


def test_an_upgrade_keeps_the_data_and_a_downgrade_that_would_harm_it_is_refused(bare, place):
    if not (place / "packages/older").is_dir():
        pytest.skip("system: the checkout has no history to make an older package of")
    set_up(bare, "older")
    take(bare, 1)
    take(bare, 2)
    kept, pid = results(bare), bare.pid
    code, said = bare.install("now")
    assert code == 0, said
    assert "runs" in said
    assert bare.active()
    assert bare.pid != pid
    assert len(environments(bare)) == 1
    assert results(bare) == kept
    (copy,) = bare.run("sh", "-c", f"ls {DATA}/backups/before-*").split()
    assert bare.run("stat", "-c", "%U", copy) == "edge-daemon"
    take(bare, 3)

    now, pid = version(bare), bare.pid
    code, said = bare.install("older")
    assert code != 0
    assert "Nothing was changed" in said
    assert "before-" in said
    assert version(bare) == now
    assert (bare.active(), bare.pid) == (True, pid)
    assert bare.results() == 3
    take(bare, 4)


def test_a_lower_version_that_reads_the_same_data_goes_on_with_them(bare):
    set_up(bare, "now")
    take(bare, 1)
    code, said = bare.install("lower")
    assert code == 0, said
    assert version(bare).startswith("0.0.9 ")
    assert bare.active()
    assert bare.results() == 1
    take(bare, 2)
    # Debian installed the same Python again: there is nothing to do, and nothing stops.
    pid, made = bare.pid, environments(bare)
    bare.run("dpkg-trigger", "--by-package=python3-minimal", "/usr/bin/python3")
    code, *said = bare.call("dpkg", "--configure", "-a")
    assert code == 0, said
    assert (bare.pid, environments(bare)) == (pid, made)


def test_a_newer_python_of_debian_makes_the_environment_anew(bare):
    set_up(bare, "now")
    take(bare, 1)
    pid, (made,) = bare.pid, environments(bare)
    # What is there was made for another Python.
    bare.run("mv", f"{ENVIRONMENTS}/{made}", f"{ENVIRONMENTS}/0.1.0-py3.10-00000000")
    bare.run("ln", "-sfn", f"{ENVIRONMENTS}/0.1.0-py3.10-00000000", "/opt/edge-daemon")
    bare.run("dpkg-trigger", "--by-package=python3-minimal", "/usr/bin/python3")
    code, *said = bare.call("dpkg", "--configure", "-a")
    assert code == 0, said
    assert environments(bare) == [made]
    wait(lambda: bare.active() and bare.pid not in (0, pid))
    take(bare, 2)


def test_an_installation_by_hand_is_taken_over(bare):
    bare.run("mkdir", "-p", "/opt/edge-daemon/bin")
    bare.write("/opt/edge-daemon/bin/edge-daemon", b"#!/bin/sh\nexit 1\n")
    set_up(bare, "now")
    take(bare, 1)
    assert bare.run("ls", "/opt").split() == ["edge-daemon", "edge-daemon.by-hand", "edge-daemon.d"]


def test_what_is_removed_leaves_the_data_and_what_is_purged_asks(bare):
    set_up(bare, "now")
    take(bare, 1)
    code, out, err = bare.call("dpkg", "--remove", "edge-daemon")
    assert code == 0, err
    assert "results and configuration stay" in out + err
    assert bare.run("pgrep", "-u", "edge-daemon") == ""
    assert bare.run("ls", "/opt") == ""
    assert bare.run("stat", "-c", "%U", f"{DATA}/edge.sqlite3") == "edge-daemon"
    assert bare.run("cat", CONFIG)

    # Installed again, it goes on where it stopped.
    code, said = bare.install("now")
    assert code == 0, said
    wait(bare.active)
    assert bare.results() == 1
    take(bare, 2)

    code, out, err = bare.call("dpkg", "--purge", "edge-daemon")
    assert code == 0, err
    assert "results stay in" in out + err
    assert bare.run("cat", CONFIG) == ""
    assert bare.run("ls", DATA) != ""
    assert bare.run("systemctl", "is-enabled", UNIT) != "enabled"

    code, said = bare.install("now")
    assert code == 0, said
    answer = b"edge-daemon edge-daemon/purge_data boolean true\n"
    bare.run("debconf-set-selections", stdin=answer)
    code, out, err = bare.call("dpkg", "--purge", "edge-daemon")
    assert code == 0, err
    assert "all results are deleted" in out + err
    assert bare.call("ls", DATA)[0] != 0
