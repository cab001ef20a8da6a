"""Help that is read in groups, drawn without rich, which would take longer to import than all the rest."""

from __future__ import annotations

import shutil
from typing import Any

from typer.core import TyperCommand, TyperGroup

from wan22.fields import GROUPS, of_command

_WIDEST, _NARROWEST = 80, 20


def _width() -> int:
    """Columns of the help: those of the terminal, within reason. Left alone, lines would not be under 50."""
    return max(min(shutil.get_terminal_size().columns, _WIDEST) - 2, _NARROWEST)


def _section(formatter: Any, title: str, records: list[tuple[str, str]]) -> None:
    """Write names with their texts beside them; in a narrow terminal, long names stand above."""
    with formatter.section(title):
        formatter.write_dl(records, col_max=min(30, formatter.width // 3))


class GroupedCommand(TyperCommand):
    """A command whose help lists its options under the group of each; the rest under Options.

    An option whose field says what it stands for without a value may have none: at the end, or before another option.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read a command line."""
        bare = {field.option: field.bare for field in of_command(str(self.name)) if field.bare}
        end = args.index("--") if "--" in args else len(args)
        for i, word in enumerate(args[:end]):
            if word in bare and (i + 1 == end or args[i + 1].startswith("-")):
                args[i] = f"{word}={bare[word]}"
        return super().parse_args(ctx, args)

    def get_help(self, ctx: Any) -> str:
        """The help, as wide as the terminal."""
        ctx.terminal_width = _width()
        return super().get_help(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then options by group."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        groups |= {f"{name}: {what}": [] for name, what in GROUPS.items()}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            panel = getattr(parameter, "rich_help_panel", None)
            title = f"{panel}: {GROUPS[panel]}" if panel in GROUPS else "Options"
            groups["Arguments" if parameter.param_type_name == "argument" else title].append(record)
        groups["Options"], rest = [], groups["Options"]
        for title, records in (*groups.items(), ("Options", rest)):
            if records:
                _section(formatter, title, records)


class GroupedCommands(TyperGroup):
    """A group of commands whose help lists them under what they are for."""

    def get_help(self, ctx: Any) -> str:
        """The help, as wide as the terminal."""
        ctx.terminal_width = _width()
        return super().get_help(ctx)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands by their panel, in order."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is None or command.hidden:
                continue
            panel = getattr(command, "rich_help_panel", None) or "Commands"
            panels.setdefault(panel, []).append((name, command.get_short_help_str(100)))
        for panel, rows in panels.items():
            _section(formatter, panel, rows)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, then the commands."""
        records = [record for one in self.get_params(ctx) if (record := one.get_help_record(ctx)) is not None]
        if records:
            _section(formatter, "Options", records)
        self.format_commands(ctx, formatter)
