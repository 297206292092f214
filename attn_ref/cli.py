"""``attn-ref``: the command line. A command's file is imported when it is called, so ``--help`` stays quick.

Exit codes: 0 all agrees, 1 something differs or a proof failed, 2 the request cannot be met; 130, 143 or 129 where
Ctrl-C, SIGTERM or SIGHUP ended it.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

import click

from attn_ref import interrupts
from attn_ref.wording import clean

COMMANDS = {
    "check": "Hold mirrors to the definitions and report where they differ.",
    "compare": "Compare two layers of any frameworks: do they agree, and if not, at which lines do they part?",
    "conform": "Hold your own layer to a block: does it agree, and if not, at which line and why?",
    "identify": "Find the block and the options that a layer is.",
    "list": "List the blocks and who mirrors them.",
    "maps": "List the maps between foreign weights and canonical ones.",
    "port": "Move a checkpoint to another framework, and prove that it arrived.",
    "reproduce": "Run one case of a report again, and show every tap.",
    "selftest": "Measure the checker: plant every known trap in every mirror, and count what it catches.",
    "show": "Show what a block computes, its parameters and its taps.",
    "transfer": "Give one live model the numbers of another, proven by running both.",
    "traps": "List the ways in which implementations deviate, with symptom, fix and evidence.",
}


class Lazy(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"attn_ref.commands.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message} {meant(args)}".strip(), ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def meant(args: list[str]) -> str:
    """Which command a name that is none may stand for."""
    from attn_ref import blocks, names

    if found := names.suggest(args[0], [*COMMANDS, "--help"]):
        return f"Did you mean {names.either(found)}?"
    spelled = [block for block in blocks() if names.squeezed(block) == names.squeezed(args[0])]
    return f"Did you mean 'show {spelled[0]}' or 'check {spelled[0]}'?" if spelled else ""


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="attn_ref")
def cli() -> None:
    """Is my attention right, and if not, where and why? NumPy defines; every framework is held to it."""


def open_streams() -> None:
    """Let standard output and error take any text: what their encoding lacks is escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """The entry point: every error of the request is one message on stderr and exit code 2."""
    interrupts.catch(interrupts.leave)
    open_streams()
    if (name := "".join(sys.argv[1:2])) in COMMANDS:
        import_module(f"attn_ref.commands.{name}")  # an import now and then swallows what a signal raises in it
    interrupts.catch(interrupts.unwind)
    try:
        code = cli(standalone_mode=False) or 0
        interrupts.catch(signal.SIG_IGN)
    except click.ClickException as error:
        error.show()
        code = 2
    except click.exceptions.Abort as abort:
        interrupts.catch(signal.SIG_IGN)
        click.echo("interrupted", err=True)
        code = getattr(abort.__cause__, "code", 130)
    except (ValueError, OSError, RuntimeError) as error:
        code = 1 if isinstance(error, BrokenPipeError) else 2
        if code == 2:
            click.echo(f"attn-ref: {clean(str(error))}", err=True)
    except MemoryError:
        click.echo("attn-ref: there is not enough memory for this; nothing was written", err=True)
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
