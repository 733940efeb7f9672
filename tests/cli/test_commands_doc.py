"""docs/commands.md documents every command and option that exists, and no other."""

import re

import click
import pytest

from edge_daemon.cli import cli
from edge_daemon.resources import docs_dir

PAGE = (docs_dir() / "commands.md").read_text(encoding="utf-8")
HEADING = re.compile(r"^#{3,4} `(edge-daemon[^`]*)`$", re.MULTILINE)


def sections():
    """Command words → text of its section."""
    found = {}
    starts = [*HEADING.finditer(PAGE)]
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        words = tuple(w for w in start[1].split()[1:] if w.islower())
        text = PAGE[start.end() : following.start() if following else len(PAGE)]
        # A part heading ends a section too.
        found[words] = re.split(r"^## ", text, flags=re.MULTILINE)[0]
    return found


def commands(command=cli, words=()):
    """Yield every command of the tree with the words that call it."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*words, name))


TREE = dict(commands())
SECTIONS = sections()


def options(command):
    return {
        name
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
        if name.startswith("--") and name != "--help"
    }


def test_every_command_has_a_section_and_no_section_is_without_command():
    assert set(SECTIONS) == set(TREE)


@pytest.mark.parametrize("words", TREE, ids=" ".join)
def test_options_of_the_section_are_those_of_the_command(words):
    rows = [row for row in SECTIONS[words].splitlines() if row.startswith("| `")]
    documented = {o for row in rows for o in re.findall(r"--[a-z0-9-]+", row.split(" | ")[0])}
    assert documented - {"--help"} == options(TREE[words])


def test_every_exit_code_is_explained():
    from edge_daemon import errors
    from edge_daemon.cli.lazy import EXIT_INTERRUPTED

    codes = {v for k, v in vars(errors).items() if k.startswith("EXIT_")} | {EXIT_INTERRUPTED}
    assert {int(c) for c in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)} == codes
