"""jaxqsm methods: what can be chosen."""

from __future__ import annotations

from rich.console import Console

from jaxqsm.pipeline import METHODS, Config


def methods() -> None:
    """Every method with its stage, source and options."""
    console = Console(highlight=False, soft_wrap=True)
    for stage, members in METHODS.items():
        optional = getattr(Config, stage, "") == "none"
        console.print(f"\n[bold]{stage}[/bold]")
        for number, method in enumerate(members.values()):
            default = " (default)" if number == 0 and not optional else ""
            console.print(f"  [cyan]{method.name}[/cyan]{default}: {method.summary}")
            for option in method.options:
                console.print(f"      {option.name} = {option.default}", markup=False)
            console.print(f"      {method.source}", style="dim", markup=False)
