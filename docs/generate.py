"""Pages that the registries and the results make: stages, commands, networks, benchmarks, API."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from rich.console import Console

import jaxqsm
from jaxqsm.cli.app import app
from jaxqsm.methods import COMMANDS, METHODS, Method
from jaxqsm.networks import NETWORKS
from jaxqsm.pretrained.trained import WEIGHTS

HERE = Path(__file__).parent
OUT = HERE / "generated"
RESULTS = HERE.parent / "results"
TITLES = {
    "mask": "Masks",
    "signal": "Signal to susceptibility",
    "unwrapping": "Unwrapping",
    "phase_offset": "Phase offset",
    "field_mapping": "Field mapping",
    "background": "Background removal",
    "inversion": "Dipole inversion",
    "single_step": "Single step",
    "uncertainty": "Uncertainty",
    "separation": "χ-separation",
    "relaxometry": "Relaxometry",
    "orientations": "Several orientations",
    "weighting": "Susceptibility weighting",
}
INTRODUCTIONS = {
    "mask": "Where to reconstruct. `run` and `bids` make a mask where none is given (`--mask-method`).",
    "signal": "From the complex multi-echo signal to χ at once (`run --signal signal_fit`).",
    "unwrapping": "Wrapped to unwrapped phase; every function takes one echo or several.",
    "phase_offset": "The phase at TE = 0, removed before unwrapping where there are two echoes or more.",
    "field_mapping": "Unwrapped phase of all echoes to the total field in ppm.",
    "background": "Total field to local field, and the mask where it is valid.",
    "inversion": "Local field to χ in ppm, mean zero in the mask.",
    "single_step": "Total field to χ, without a background removal that could go wrong.",
    "uncertainty": "Standard deviation of χ, in ppm (`run --uncertainty`, `invert --out-std`).",
    "separation": "Paramagnetic and diamagnetic susceptibility of one voxel (`jaxqsm separate`).",
    "relaxometry": "R2* in 1/s from the magnitude (`jaxqsm r2star`).",
    "orientations": "χ, or its tensor, from several registered head orientations (`jaxqsm cosmos`, `sti`).",
    "weighting": "Susceptibility-weighted images (`jaxqsm swi`).",
}
WORDS = re.compile(r"[A-Za-z_]{2,}")
LATEX = {
    "½": r"\tfrac{1}{2}", "χ⁺": r"\chi^{+}", "χ⁻": r"\chi^{-}", "χ̂": r"\hat{\chi}", "χ": r"\chi ",
    "Σ": r"\sum ", "∇²": r"\nabla^{2}", "∇": r"\nabla ", "ℰ": r"\mathcal{E}", "²": "^{2}", "₁": "_{1}",
    "ᵢ": "_{i}", "−": "-", "·": r"\cdot ", "‖": r"\|", "ν": r"\nu ", "□": r"\square ", "ψ": r"\psi ",
    "γ": r"\gamma ", "π": r"\pi ", "√": r"\sqrt ", "≥": r"\ge ", "≤": r"\le ", "ᵀ": "^{T}", "σ": r"\sigma ",
    "R2*": "R_2^*",
}  # fmt: skip
FUNCTIONS = {"exp", "log", "sin", "argmin", "diag", "min", "max"}


def generate() -> None:
    """Write all generated pages anew."""
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "stages").mkdir(parents=True)
    (OUT / "api").mkdir()
    stages = _stages()
    for stage, methods in stages.items():
        (OUT / "stages" / f"{stage}.md").write_text(_stage_page(stage, methods), encoding="utf-8")
    index = f"# Methods by stage\n\n{_methods_table(stages)}\n" + _toc(f"stages/{stage}" for stage in stages)
    (OUT / "stages.md").write_text(index, encoding="utf-8")
    (OUT / "snippets").mkdir()
    (OUT / "snippets" / "networks.md").write_text(_networks_table(), encoding="utf-8")
    (OUT / "cards").mkdir()
    cards = sorted(WEIGHTS.glob("*.md"))
    for card in cards:
        text = re.sub(r"\]\(\.\./\.\./\.\./docs/", "](../../", card.read_text(encoding="utf-8"))
        (OUT / "cards" / card.name).write_text(text, encoding="utf-8")
    (OUT / "cards.md").write_text(
        "# Model cards\n\n" + _toc(f"cards/{card.stem}" for card in cards), encoding="utf-8"
    )
    (OUT / "command_line.md").write_text(_commands(), encoding="utf-8")
    _api()
    _benchmarks()


def _stages() -> dict[str, dict[str, Method]]:
    orientations = {name: method for key in ("cosmos", "sti") for name, method in COMMANDS[key].items()}
    return METHODS | {"orientations": orientations, "weighting": COMMANDS["swi"]}


def _toc(pages: Iterable[str]) -> str:
    lines = "\n".join(pages)
    return f"```{{toctree}}\n:maxdepth: 1\n\n{lines}\n```\n"


def _stage_page(stage: str, methods: dict[str, Method]) -> str:
    parts = [f"# {TITLES[stage]}\n", INTRODUCTIONS[stage] + "\n"]
    parts.append("| method | use |\n| --- | --- |")
    parts.append(
        "\n".join(f"| [`{name}`](#{_label(stage, name)}) | {_use(m)} |" for name, m in methods.items()) + "\n"
    )
    scores = _scores(stage)
    parts += [_method(stage, method, scores.get(name), first=number == 0)
              for number, (name, method) in enumerate(methods.items())]  # fmt: skip
    return "\n".join(parts)


def _label(stage: str, name: str) -> str:
    return f"method-{stage}-{name}".replace("_", "-")


def _use(method: Method) -> str:
    """The sentence of the docstring that says when to use the method."""
    paragraphs = (inspect.getdoc(method.function) or "").split("\n\n")
    found = next((p for p in paragraphs if p.startswith("Use it ")), "")
    return _plain(" ".join(found.split()).removeprefix("Use it ").rstrip("."))


def _plain(text: str) -> str:
    """Roles as code, bars escaped for tables."""
    text = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"`\1`", text).replace("``", "`")
    return text.replace("|", r"\|").replace("*", r"\*")


def equation(summary: str) -> str | None:
    """The problem of a summary line "Minimise … over …" as LaTeX; None where it states none."""
    match = re.match(r"Minimise (.+?)(?: over | by | where |, |\.$)", summary)
    if match is None or not re.search(r"[χΣ|]", match[1]):
        return None
    text = re.sub(r"exp\((.*?)\)(?=[ )|])", r"exp(\1)", match[1])
    text = WORDS.sub(
        lambda w: rf"\{w[0]} " if w[0] in FUNCTIONS - {"argmin", "diag"} else rf"\text{{{w[0]}}}\,", text
    )
    for character, code in LATEX.items():
        text = text.replace(character, code)
    return rf"\min \; {text}".replace("_}", r"\_}")


def _method(stage: str, method: Method, score: dict[str, float] | None, *, first: bool) -> str:
    default = " (default)" if first and len(METHODS.get(stage, {})) > 1 else ""
    label = _label(stage, method.name)
    lines = [f"({label})=\n## `{method.name}`{default}\n", _plain(method.summary) + "\n"]
    problem = equation(method.summary)
    if problem is not None:
        lines.append(f"$$\n{problem}\n$$\n")
    picture = HERE / "pictures" / stage / f"{method.name}.png"
    if picture.exists():
        lines.append(f"![{method.name} on the simulated scan](../../pictures/{stage}/{method.name}.png)\n")
    use = _use(method)
    if use:
        lines.append(f"**When to use:** {use}.\n")
    cost = _cost(method)
    lines.append(f"**Import:** `{method.path}`{f' · **Cost:** {cost}' if cost else ''}\n")
    if score is not None:
        lines.append(
            f"**Measured** on the simulated reference scan (1 mm, 3 T, SNR 200): NRMSE "
            f"{score['nrmse']:.1f} %, "
            f"{score['seconds']:.0f} s with compilation ([all scans](../benchmarks/accuracy.md)).\n"
        )
    if method.options:
        meanings = _meanings(method)
        lines.append("| option | default | meaning |\n| --- | --- | --- |")
        lines += [f"| `{o.name}` | `{o.shown}` | {meanings.get(o.name, '')} |" for o in method.options]
        lines.append("")
    lines.append(f"**Source:** {_plain(method.source)}\n")
    package = method.path.split(".")[1]
    lines.append(f"[Full reference](../api/{package}.md)\n")
    return "\n".join(lines)


def _meanings(method: Method) -> dict[str, str]:
    """What the docstring says of each argument, without its default, which the table has beside it."""
    section = re.search(r"\nArgs:\n(.*?)(\n\w|\Z)", inspect.getdoc(method.function) or "", re.DOTALL)
    entries = re.split(r"\n    (?=\w[\w, ]*:)", "\n" + (section[1] if section else ""))[1:]
    found: dict[str, str] = {}
    for entry in entries:
        names, text = entry.split(":", 1)
        meaning = re.sub(r"[;.,]? *\(?[Dd]efaults? [^ ]+[.)]?$", "", " ".join(text.split()))
        found |= dict.fromkeys((name.strip() for name in names.split(",")), _plain(meaning))
    return found


def _cost(method: Method) -> str:
    text = " ".join((inspect.getdoc(method.function) or "").split())
    found = re.search(r"(\w+ (?:real )?FFTs(?: an iteration| a radius)?)", text)
    return found[1][0].lower() + found[1][1:] if found else ""


def _scores(stage: str) -> dict[str, dict[str, float]]:
    path = RESULTS / "accuracy" / f"{stage}.json"
    if not path.exists():
        return {}
    return next(iter(json.loads(path.read_text(encoding="utf-8")).values()))


def _methods_table(stages: dict[str, dict[str, Method]]) -> str:
    lines = ["| stage | methods |", "| --- | --- |"]
    for stage, methods in stages.items():
        names = ", ".join(f"`{name}`" for name in methods)
        lines.append(f"| [{TITLES[stage]}](stages/{stage}.md) | {names} |")
    return "\n".join(lines) + "\n"


def _networks_table() -> str:
    lines = [
        "| name | class | task | uses the physics | published weights |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, family in NETWORKS.items():
        reads = "readable" if family.from_published else ""
        uses = "yes" if family.physics else ""
        lines.append(f"| `{name}` | `{family.path.rpartition('.')[2]}` | {family.task} | {uses} | {reads} |")
    return "\n".join(lines) + "\n"


def _commands() -> str:
    parts = ["# Command line\n", "Every command, as its `--help` says it.\n"]
    for name in [name for name in app if not name.startswith("-")]:
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            app.help_print([name], console=Console(file=text, width=98, no_color=True, force_terminal=False))
        parts.append(f"## jaxqsm {name}\n\n```text\n{text.getvalue().strip()}\n```\n")
    return "\n".join(parts)


def _api() -> None:
    packages = [n for n in _exported(jaxqsm) if inspect.ismodule(getattr(jaxqsm, n)) and n != "methods"]
    for package in packages:
        module = importlib.import_module(f"jaxqsm.{package}")
        names = [
            (name, value)
            for name in _exported(module)
            if getattr(value := getattr(module, name), "__module__", "").startswith(f"jaxqsm.{package}.")
        ]
        lines = [f"# jaxqsm.{package}\n", f"```{{eval-rst}}\n.. automodule:: jaxqsm.{package}\n"]
        for name, value in names:
            kind = "autoclass" if inspect.isclass(value) else "autofunction"
            lines.append(
                f".. {kind}:: jaxqsm.{package}.{name}" + ("\n   :members:\n" if kind == "autoclass" else "\n")
            )
        if package == "networks":
            for family in NETWORKS.values():
                lines.append(f".. autoclass:: jaxqsm.networks.{family.path}\n")
        lines.append("```\n")
        (OUT / "api" / f"{package}.md").write_text("\n".join(lines), encoding="utf-8")
    top = (
        "# API\n\n```{eval-rst}\n.. autoclass:: jaxqsm.Geometry\n   :members:\n\n"
        ".. autoclass:: jaxqsm.Acquisition\n   :members:\n```\n\n"
    )
    methods = (
        "## The registry\n\n```{eval-rst}\n.. automodule:: jaxqsm.methods\n"
        "   :members: Method, Option, find_method, find_methods\n```\n\n"
    )
    (OUT / "api.md").write_text(top + methods + _toc(f"api/{p}" for p in packages), encoding="utf-8")


def _exported(module: ModuleType) -> list[str]:
    """Names that a folder's ``__init__`` lists, or the stub of one whose names are imported when used."""
    source = Path(inspect.getfile(module))
    stub = source.with_suffix(".pyi")
    text = (stub if stub.exists() else source).read_text(encoding="utf-8")
    return re.findall(r" as (\w+),?$", text, re.MULTILINE)


def _benchmarks() -> None:
    """The pages of ``results`` under the names that the site has."""
    target = OUT / "benchmarks"
    target.mkdir()
    pages = []
    for path in sorted(
        [*RESULTS.glob("*.md"), RESULTS / "accuracy" / "results.md", *RESULTS.glob("stress/**/*.md")]
    ):
        if path.name == "README.md":
            continue
        name = "accuracy" if path.name == "results.md" else path.stem
        if name == "stress":
            name = f"stress_{path.parent.name if path.parent.name != 'stress' else 'inversion'}"
        text = path.read_text(encoding="utf-8").replace("\n### ", "\n## ")
        text = re.sub(r"\[([^\]]*)\]\((?!http|#)[^)]*\.(?:md|json)[^)]*\)", r"\1", text)
        for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
            source = path.parent / picture
            if source.exists():
                shutil.copy(source, target / f"{name}_{Path(picture).name}")
                text = text.replace(f"({picture})", f"({name}_{Path(picture).name})")
        (target / f"{name}.md").write_text(text, encoding="utf-8")
        pages.append(name)
    introduction = (
        "Everything here is written by a command of `benchmarks/` or by `jaxqsm stress` into `results/`.\n\n"
    )
    (OUT / "benchmarks.md").write_text(
        "# Benchmarks\n\n" + introduction + _toc(f"benchmarks/{p}" for p in pages), encoding="utf-8"
    )


if __name__ == "__main__":
    generate()
