"""Help that is read in groups, drawn without rich, which would take longer to import than all the rest."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from wan22.fields import GROUPS


class GroupedCommand(TyperCommand):
    """A command whose help lists its options under the group of each; the rest under Options."""

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
                with formatter.section(title):
                    formatter.write_dl(records)


class GroupedCommands(TyperGroup):
    """A group of commands whose help lists them under what they are for."""

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
            with formatter.section(panel):
                formatter.write_dl(rows)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, then the commands."""
        records = [record for one in self.get_params(ctx) if (record := one.get_help_record(ctx)) is not None]
        if records:
            with formatter.section("Options"):
                formatter.write_dl(records)
        self.format_commands(ctx, formatter)
