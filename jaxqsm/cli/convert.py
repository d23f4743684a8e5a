"""jaxqsm convert-weights: networks that others have trained."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import ChainMap
from pathlib import Path
from typing import Annotated, Any

from flax import nnx

from jaxqsm import learning
from jaxqsm.cli import console
from jaxqsm.cli.choices import convertible
from jaxqsm.cli.options import Settings
from jaxqsm.io import InputError, refuse_existing, staging
from jaxqsm.learning import CONVERTIBLE, read_checkpoint
from jaxqsm.methods import Option
from jaxqsm.networks import NETWORKS, save_weights


def convert_weights(
    checkpoints: list[Path],
    /,
    *,
    network: Annotated[str, convertible()],
    out: Path,
    settings: Settings = (),
    overwrite: bool = False,
) -> None:
    """Convert published weights to a file for jaxqsm invert --method learned --set checkpoint=FILE.

    Parameters
    ----------
    checkpoints
        PyTorch state_dict (.pth, .pt; needs PyTorch), the .index of a TensorFlow checkpoint (needs
        TensorFlow), Keras weights (.h5; needs h5py), .safetensors, .npz or .npy. For nextqsm two checkpoints
        of TensorFlow, of the background's network and of the variational network; or both as .weights.h5, and
        lambdas.npy.
    out
        File to write, .safetensors.
    settings
        Options of the network: OPTION=VALUE. Checkpoints leave out the means and standard deviations that
        networks were trained with (chi_std …, ppm). Those of the authors are used where they are known; a
        warning names the others.
    overwrite
        Replace the file.
    """
    if network not in CONVERTIBLE:
        raise InputError(f"--network {network}: unknown; use one of {', '.join(CONVERTIBLE)}")
    if out.suffix != ".safetensors":
        raise InputError(f"--out {out}: the name must end in .safetensors")
    refuse_existing([out], overwrite=overwrite)
    known = {f.name: Option(f.name, f.default) for f in dataclasses.fields(NETWORKS[network].config)}
    options: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in known:
            raise InputError(f"--set {setting}: needs OPTION=VALUE with one of {', '.join(known)}")
        try:
            options[name] = known[name].parse(text)
        except ValueError as error:
            raise InputError(f"--set {setting}: {error}") from error
    try:
        weights = [read_checkpoint(path) for path in checkpoints]
    except ValueError as error:
        raise InputError(str(error)) from error
    names = " ".join(map(str, checkpoints))
    try:
        module = learning.convert_weights(ChainMap(*weights), network, options)
    except ValueError as error:
        raise InputError(f"{names}: {error}") from error
    notes = {
        "task": NETWORKS[network].task,
        "converted_from": " ".join(path.name for path in checkpoints),
        "sha256": " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in checkpoints),
    }
    with staging(out.parent) as folder:
        save_weights(folder / out.name, network, dataclasses.asdict(module.config), nnx.state(module), notes)
    published = {k: v for k, v in NETWORKS[network].published_statistics.items() if k not in options}
    if published:
        values = ", ".join(f"{k} {v:g}" for k, v in published.items())
        console.note(f"{values} ppm: statistics of the authors' training data")
    if guessed := [name for name in NETWORKS[network].unknown_statistics if name not in options]:
        values = ", ".join(f"{name} {known[name].default:g}" for name in guessed)
        console.warn(f"{values} ppm: not known of the authors' training data; if you know them, pass --set")
    console.note(f"wrote {out}")
