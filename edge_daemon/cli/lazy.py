"""The root group: a table of commands that are imported only when they are called."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import click

from edge_daemon import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from click.shell_completion import CompletionItem

EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the command table.

    Attributes
    ----------
    target
        ``module:attribute`` of the click command, relative to `edge_daemon.cli`.
    summary
        The line shown by ``edge-daemon --help``, so that help imports no command.
    """

    target: str
    summary: str


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports only the one that is called.

    A command returns its exit code, or None for 0. Every error leaves through `main`, which
    turns it into one message, one line saying what to do, and an exit code.

    Parameters
    ----------
    sections
        Heading → command name → entry, in the order of the help page.
    """

    def __init__(self, sections: Mapping[str, Mapping[str, Entry]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sections = sections
        self.table = {name: entry for rows in sections.values() for name, entry in rows.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        """Return the names in the order of the help page."""
        return list(self.table)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import the module of one command."""
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(importlib.import_module(f"edge_daemon.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest ones."""
        name = args[0]
        if name not in self.table and not name.startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(name, self.table, n=3)
            hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the table by section, without importing any command."""
        for heading, rows in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name, entry.summary) for name, entry in rows.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete command names from the table, without importing any command."""
        from click.shell_completion import CompletionItem

        items = [
            CompletionItem(name, help=entry.summary)
            for name, entry in self.table.items()
            if name.startswith(incomplete)
        ]
        # click.Group's own version would import every command to read its help.
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that has gone away is noticed here, not at exit."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        result = super().invoke(ctx)
        sys.stdout.flush()
        return result

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002 click's signature; errors end here
        **extra: Any,
    ) -> NoReturn:
        """Run and leave the process with the documented exit code."""
        settings: dict[str, bool] = {}
        try:
            code = super().main(
                args, prog_name, complete_var, standalone_mode=False, obj=settings, **extra
            )
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except click.Abort:
            code = EXIT_INTERRUPTED
        except Exception as error:
            if settings.get("debug"):
                raise
            report(error)
            code = exit_code(error)
        sys.exit(code if isinstance(code, int) else errors.EXIT_OK)


def exit_code(error: Exception) -> int:
    """Map an error to the exit code that supervisors and scripts rely on."""
    if isinstance(error, errors.Retryable):
        return errors.EXIT_RETRY_LATER
    if isinstance(error, errors.Fatal):
        return error.exit_code
    return errors.EXIT_FAILED


def report(error: Exception) -> None:
    """Say on stderr what is wrong and what to do; never a traceback."""
    if isinstance(error, errors.EdgeError):
        message, action = error.message, error.action
    elif isinstance(error, OSError) and error.filename is not None:
        message = f"{error.filename}: {error.strerror}"
        action = "Check that the path exists and that you may read and write it."
    else:
        message = f"internal error: {type(error).__name__}: {error}"
        action = "Run it again as `edge-daemon --debug …` and report what it prints."
    from edge_daemon.cli.output import next_action, printable

    click.echo(f"edge-daemon: {printable(message, lines=True)}", err=True)
    if action:
        click.echo(next_action(action), err=True)
