"""jaxqsm methods: what can be chosen."""

from __future__ import annotations

from rich.console import Console

from jaxqsm.methods import COMMANDS, METHODS, Method
from jaxqsm.pipeline import Config


def methods() -> None:
    """List every method with its stage, import path, source and options."""
    console = Console(highlight=False, soft_wrap=True)
    for stage, members in METHODS.items():
        optional = getattr(Config, stage, "") == "none"
        console.print(f"\n[bold]{stage}[/bold]")
        for number, method in enumerate(members.values()):
            _show(console, method, " (default)" if number == 0 and not optional else "")
    for command, members in COMMANDS.items():
        console.print(f"\n[bold]jaxqsm {command}[/bold]")
        for method in members.values():
            _show(console, method)


def _show(console: Console, method: Method, remark: str = "") -> None:
    console.print(f"  [cyan]{method.name}[/cyan]{remark}: {method.summary}")
    for option in method.options:
        console.print(f"      {option.name} = {option.shown}", markup=False)
    console.print(f"      {method.source}", style="dim", markup=False)
