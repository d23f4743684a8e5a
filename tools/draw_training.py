"""``python -m tools.draw_training LOG … --out FIGURE``: NRMSE on held-out patches against training steps."""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt


def main() -> None:
    """Draw one run after another on one axis."""
    parser = argparse.ArgumentParser()
    parser.add_argument("logs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=float, nargs="+", help="NRMSE (%%) of the start, one a run")
    given = parser.parse_args()
    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    before = 0
    for number, path in enumerate(given.logs):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        steps = [before + line["step"] for line in lines]
        axis.plot(steps, [100 * line["validation"] for line in lines], label=f"run {number + 1}: network")
        if given.start:
            axis.hlines(
                given.start[number],
                before,
                steps[-1],
                linestyles="dashed",
                colors=f"C{number}",
                label=f"run {number + 1}: where it starts",
            )
        before = steps[-1]
    axis.set(xlabel="steps", ylabel="NRMSE on held-out patches, %")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize="small", loc="center right")
    figure.savefig(given.out, dpi=130)


if __name__ == "__main__":
    main()
