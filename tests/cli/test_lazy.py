"""The root group: cost of help, errors, exit codes, suggestions, completion."""

import json
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from edge_daemon import errors
from edge_daemon.cli import SECTIONS, cli
from edge_daemon.cli.lazy import Entry, LazyGroup, exit_code

NAMES = [name for rows in SECTIONS.values() for name in rows]

PROBE = """
import json, sys
from edge_daemon.cli import main
sys.argv = ["edge-daemon", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as end:
    code = end.code
print(json.dumps([code, sorted({m.partition(".")[0] for m in sys.modules}), sorted(sys.modules)]),
      file=sys.stderr)
"""


def loaded(*args, env=None):
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(args)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **(env or {})},
    )
    code, packages, modules = json.loads(done.stderr.splitlines()[-1])
    return code, set(packages), set(modules), done.stdout


HEAVY = {"numpy", "sqlalchemy", "alembic", "structlog", "pydantic", "rich", "onnxruntime", "jax"}


@pytest.mark.parametrize("args", [["--help"], ["--version"], []])
def test_help_imports_only_click(args):
    _, packages, modules, _ = loaded(*args)
    assert not packages & HEAVY
    ours = {m for m in modules if m.startswith("edge_daemon")}
    assert ours <= {
        "edge_daemon",
        "edge_daemon.cli",
        "edge_daemon.cli.lazy",
        "edge_daemon.errors",
    }


def test_the_service_imports_no_toolkit_that_only_migrations_or_workers_use():
    script = "import sys, edge_daemon.last_good, edge_daemon.service; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    packages = {name.partition(".")[0] for name in done.stdout.split()}
    assert not packages & {"sqlalchemy", "alembic", "onnxruntime", "jax"}


def test_completion_of_command_names_imports_no_command():
    env = {"_EDGE_DAEMON_COMPLETE": "bash_complete", "COMP_WORDS": "edge-daemon s", "COMP_CWORD": 1}
    _, packages, modules, out = loaded(env={k: str(v) for k, v in env.items()})
    assert set(out.split()) == {f"plain,{name}" for name in NAMES if name.startswith("s")}
    assert "plain,show" in out.split()
    assert not packages & HEAVY
    assert "edge_daemon.cli.results" not in modules


def test_help_lists_every_command_with_its_summary(invoke):
    shown = invoke("--help").out
    for rows in SECTIONS.values():
        for name, entry in rows.items():
            assert name in shown
            assert entry.summary in shown


@pytest.mark.parametrize("name", NAMES)
def test_summary_in_the_table_is_that_of_the_command(name):
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command.name == name
    assert command.help or isinstance(command, click.Group)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(invoke, name):
    done = invoke(name, "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: edge-daemon {name}")
    assert not done.err


def test_short_help_option_works_everywhere(invoke):
    assert invoke("results", "-h").out == invoke("results", "--help").out


def test_version(invoke):
    from edge_daemon import __version__

    assert invoke("--version").out == f"edge-daemon {__version__}\n"


def test_wrong_command_names_the_near_one(invoke):
    done = invoke("reslts")
    assert done.code == errors.EXIT_USAGE
    assert "No such command 'reslts'. Did you mean 'results'" in done.err
    assert not done.out


def test_command_like_nothing_gets_no_guess(invoke):
    done = invoke("zzzzzz")
    assert done.code == errors.EXIT_USAGE
    assert "Did you mean" not in done.err


def test_wrong_option_is_a_usage_error(invoke):
    done = invoke("--nonsense")
    assert done.code == errors.EXIT_USAGE
    assert "--nonsense" in done.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Retryable("busy"), 75),
        (errors.Quarantine("malformed", "broken"), 1),
        (errors.Fatal("config", exit_code=78), 78),
        (errors.Fatal("gone", exit_code=4), 4),
        (errors.EdgeError("other"), 1),
        (ValueError("bug"), 1),
    ],
)
def test_exit_codes(error, code):
    assert exit_code(error) == code


def group_raising(error):
    @click.command()
    def fail():
        raise error

    group = LazyGroup({"All": {"fail": Entry("nowhere:fail", "Fails.")}}, name="edge-daemon")
    group.params = cli.params
    group.add_command(fail)
    group.get_command = lambda _ctx, _name: fail
    return group


def run(group, *args):
    result = CliRunner().invoke(group, args)
    return result.exit_code, result.stdout, result.stderr


def test_error_prints_message_and_action_and_no_traceback():
    group = group_raising(errors.Retryable("disk is full", action="make room"))
    code, out, err = run(group, "fail")
    assert (code, out) == (75, "")
    assert err == "edge-daemon: disk is full\n→ Make room\n"


def test_error_without_action_is_one_line():
    assert run(group_raising(errors.EdgeError("no")), "fail")[2] == "edge-daemon: no\n"


def test_control_characters_of_a_message_are_shown_not_sent():
    _, _, err = run(group_raising(errors.EdgeError("bad \x1b[2Jname\nsecond line")), "fail")
    assert err == "edge-daemon: bad \\x1b[2Jname\nsecond line\n"


def test_unexpected_error_asks_for_a_report():
    code, _, err = run(group_raising(KeyError("x")), "fail")
    assert code == 1
    assert "internal error: KeyError: 'x'" in err
    assert "--debug" in err
    assert "Traceback" not in err


def test_os_error_names_the_file():
    _, _, err = run(group_raising(PermissionError(13, "Permission denied", "/some/file")), "fail")
    assert err.startswith("edge-daemon: /some/file: Permission denied\n→ ")


def test_debug_lets_the_traceback_through():
    error = errors.EdgeError("no")
    result = CliRunner().invoke(group_raising(error), ["--debug", "fail"])
    assert result.exception is error


def test_interrupt_is_130():
    assert run(group_raising(KeyboardInterrupt()), "fail")[0] == 130


def test_reader_that_leaves_ends_the_command_quietly(tmp_path):
    command = f"{sys.executable} -m edge_daemon.cli config schema | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "{"
    assert not done.stderr


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete ")]
)
def test_completion_script(invoke, shell, word):
    script = invoke("completion", shell).out
    assert word in script
    assert "_EDGE_DAEMON_COMPLETE" in script
