"""Networks with the weights that come with the package, as plain functions."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.background import lbv
from jaxqsm.geometry import Geometry
from jaxqsm.inversion.common import data_weights, referenced
from jaxqsm.networks.catalogue import load_network
from jaxqsm.operators import block_interpolate, block_mean, erode

WEIGHTS = Path(__file__).with_name("weights")
"""Folder of the weight files, each beside the model card that says how it came to be."""


def learned(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: str = "learned",
) -> Float[Array, "x y z"]:
    """The unrolled network that we recommend: classical inversions, then learned images and physics in turn.

    Trained on simulated heads of 0.3 to 2 mm in any orientation, see ``networks/weights/learned.md``.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional, any unit; voxels count by it.
        weights: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote. Default ``"learned"``.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Differentiable in reverse mode; what goes through
        the classical inversions is the implicit derivative of their converged solutions, while 40 iterations
        are done.

    Raises:
        ValueError: there are no such weights, or they are of another task than inversion.

    References:
        Aggarwal, Mani & Jacob 2019, IEEE TMI 38:394, doi:10.1109/TMI.2018.2865356;
        :class:`jaxqsm.networks.Unrolled`.
    """
    graph, parameters = trained_network(weights, "inversion")
    chi = _call(graph, "__call__", parameters, local_field, mask, geometry, magnitude)
    return referenced(chi, jnp.asarray(mask))


def qsmnet_plus(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    weights: str = "qsmnet_plus",
) -> Float[Array, "x y z"]:
    """A U-Net without physics, for axial scans of 1 mm: to see where such networks break.

    The architecture of QSMnet at a quarter of its width and three levels deep, trained on simulated heads,
    see ``networks/weights/qsmnet_plus.md``. Field direction and voxel size are not used: of other scans than
    axial ones of 1 mm it makes wrong maps. :func:`learned` is the better one for those as well.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: not used, as published.
        weights: name of weights that come with the package, or the path of a file that ``jaxqsm train`` or
            ``jaxqsm convert-weights`` wrote. Default ``"qsmnet_plus"``.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Differentiable.

    Raises:
        ValueError: there are no such weights, or they are of another task than inversion.

    References:
        Yoon et al. 2018, NeuroImage 179:199, doi:10.1016/j.neuroimage.2018.06.030 (QSMnet);
        Jung et al. 2020, NeuroImage 211:116619, doi:10.1016/j.neuroimage.2020.116619 (QSMnet+).
    """
    return learned(local_field, mask, geometry, weights=weights)


def learned_single_step(
    total_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: str = "learned_single_step",
) -> tuple[Float[Array, "x y z"], Bool[Array, "x y z"]]:
    """Total field to χ by a network that corrects a classical single step and answers to the field again.

    Trained on simulated heads of 0.8 to 3 mm in any orientation, see
    ``networks/weights/learned_single_step.md``.

    Args:
        total_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where it is valid.
        geometry: voxel size and field direction.
        magnitude: optional, any unit; voxels count by it.
        weights: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote for the task ``single_step``. Default ``"learned_single_step"``.

    Returns:
        χ in ppm, zero mean in the mask that comes with it, zero outside: the given one, or the part of it
        where the network says that its output is valid (:meth:`jaxqsm.networks.SingleStep.valid`).

    Raises:
        ValueError: there are no such weights, or they are of another task.

    References:
        Chatnuntawech et al. 2017, NMR Biomed 30:e3570, doi:10.1002/nbm.3570 (single step);
        :class:`jaxqsm.networks.SingleStep`.
    """
    graph, parameters = trained_network(weights, "single_step")
    inside = jnp.asarray(mask)
    chi = _call(graph, "__call__", parameters, total_field, inside, geometry, magnitude)
    network = nnx.merge(graph, parameters)
    if hasattr(network, "valid"):
        (inside,) = network.valid(*jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (inside, geometry)))
    return referenced(chi, inside), inside


def learned_background(
    total_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    erosion: float = 2.0,
    coarse: float = 2.4,
    weights: str = "learned_background",
) -> tuple[Float[Array, "x y z"], Bool[Array, "x y z"]]:
    """Background removal by a network that corrects two classical methods; what it removes is harmonic.

    A network finds the local field on coarse voxels, where it corrects :func:`~jaxqsm.background.pdf` and
    :func:`~jaxqsm.background.lbv`. Its values on the border of the mask then are the boundary values of the
    Laplacian boundary value method on the voxels of the scan: what is taken off the total field is harmonic,
    whatever the network says.

    Trained on simulated heads, see ``networks/weights/learned_background.md``.

    Args:
        total_field: ppm, shape ``(x, y, z)``.
        mask: where the total field is valid.
        geometry: voxel size and field direction. The voxel size must be known when traced.
        magnitude: optional, any unit; voxels count by it.
        erosion: mm taken off the mask first. Default 2: on its border lie the veins of the dura, whose field
            then is background. With them in the mask, the error in the brain 6 mm within is two and a half
            times as large where the head phantom is tilted by 25 to 45°.
        coarse: mm; blocks of voxels are made of about this size for the network. Default 2.4, the middle of
            what it was trained on.
        weights: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote. Default ``"learned_background"``.

    Returns:
        Local field in ppm, zero outside, and the eroded mask without its outermost layer. Differentiable.

    Raises:
        ValueError: there are no such weights, or they are of another task than background removal.

    References:
        Bollmann et al. 2019, Z Med Phys 29:139, doi:10.1016/j.zemedi.2019.01.001 (SHARQnet);
        Zhou, Liu, Spincemaille & Wang 2014, NMR Biomed 27:312, doi:10.1002/nbm.3064 (boundary values);
        :class:`jaxqsm.networks.HarmonicCorrection`.
    """
    graph, parameters = trained_network(weights, "background")
    size = np.asarray(geometry.voxel_size)
    factors = [max(1, round(coarse / length)) for length in size.tolist()]
    blocks = Geometry(jnp.asarray(size * factors), geometry.b0_dir)
    mask = erode(jnp.asarray(mask), erosion, geometry)
    inside = mask.astype(total_field.dtype)
    sure = data_weights(mask, magnitude)
    field, _ = block_mean(total_field, jnp.maximum(sure, 1e-6 * inside), factors)
    amplitude, filled = block_mean(sure, inside, factors)
    known = filled >= 0.5
    local = _call(graph, "__call__", parameters, field * known, known, blocks, amplitude * known)
    x, y, z = total_field.shape
    smooth = block_interpolate(local, known.astype(local.dtype), factors, (x, y, z)) * inside
    rest, valid = lbv(total_field - smooth, mask, geometry, layers=0)
    return (smooth + rest) * valid, valid


def learned_unwrapping(
    wrapped: Float[Array, "x y z *echo"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z *echo"] | None = None,
    weights: str = "learned_unwrapping",
) -> Float[Array, "x y z *echo"]:
    """Phase unwrapping by a network that corrects least squares, to the nearest whole turns.

    Trained on simulated heads of 0.5 to 2 mm in any orientation, see
    ``networks/weights/learned_unwrapping.md``. For GPU and TPU, where :func:`~jaxqsm.unwrapping.romeo`, which
    counts fewer turns wrongly, is a callback to the CPU.

    Args:
        wrapped: phase in rad; echoes are unwrapped one by one.
        mask: where phase is meaningful; its parts should touch, as the constant is one for all.
        geometry: voxel size and field direction.
        magnitude: optional, of the same shape, any unit; dark voxels are believed less.
        weights: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote for the task ``unwrapping``. Default ``"learned_unwrapping"``.

    Returns:
        Unwrapped phase in rad, the given one plus whole turns, zero outside the mask.

    Raises:
        ValueError: there are no such weights, or they are of another task.

    References:
        Zhou et al. 2021, MRM 86:3321, doi:10.1002/mrm.28927 (PHU-NET);
        :class:`jaxqsm.networks.PHUNet`.
    """
    graph, parameters = trained_network(weights, "unwrapping")
    inside = jnp.asarray(mask)
    amplitude = None if magnitude is None else jnp.abs(magnitude)
    echoes = jax.tree.map(lambda v: jnp.moveaxis(v.reshape(*mask.shape, -1), -1, 0), (wrapped, amplitude))

    def unwrap(echo: tuple[Array, Array | None]) -> Array:
        return _call(graph, "unwrap", parameters, echo[0], inside, geometry, echo[1])

    # One echo after another: memory is that of one.
    unwrapped = jax.lax.map(unwrap, echoes)
    return jnp.moveaxis(unwrapped, 0, -1).reshape(wrapped.shape)


def learned_deviation(
    chi: Float[Array, "x y z"],
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: str = "learned_deviation",
) -> Float[Array, "x y z"]:
    """Standard deviation of the error of a map of χ, by a network that has seen the errors of many.

    It counts noise, what the field does not determine, and the bias of regularisation, as they were in its
    training: simulated heads, see ``networks/weights/learned_deviation.md``. The map may be of any inversion.

    Args:
        chi: the map, ppm, shape ``(x, y, z)``.
        local_field: ppm, that it was made from.
        mask: where both are valid.
        geometry: voxel size and field direction.
        magnitude: optional, any unit.
        weights: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote. Default ``"learned_deviation"``.

    Returns:
        ppm, zero outside the mask. On 40 patches that were not trained on, χ ± 1.645 deviations holds the
        truth in 86 % of the voxels with :func:`jaxqsm.inversion.tv`, 88 % with ``l1_qsm``, 90 % with ``medi``
        and 97 % with :func:`learned`, whose errors are smaller than those it was trained on.

    Raises:
        ValueError: there are no such weights, or they give no deviation.

    References:
        Nix & Weigend 1994, IEEE ICNN 1:55, doi:10.1109/ICNN.1994.374138.
    """
    graph, parameters = trained_network(weights, "inversion")
    if not hasattr(nnx.merge(graph, parameters), "posterior"):
        raise ValueError(f"weights {weights}: of a network that gives no deviation")
    inside = jnp.asarray(mask)
    scan = local_field, inside, geometry, magnitude, referenced(chi, inside)
    return jnp.sqrt(_call(graph, "posterior", parameters, *scan).variance) * inside


def trained_network(weights: str, *tasks: str) -> tuple[Any, Any]:
    """Graph and state of the network of a weight file, or of weights that come with the package.

    Args:
        weights: name, or path that ends in ``.safetensors``.
        tasks: of which it must be.

    Raises:
        ValueError: there are no such weights, or they are of another task.
    """
    path = Path(weights) if weights.endswith(".safetensors") else WEIGHTS / f"{weights}.safetensors"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in WEIGHTS.glob("*.safetensors")))
        raise ValueError(f"weights {weights}: no such file, nor one of {names}")
    return _loaded(path, path.stat().st_mtime_ns, tasks)


@functools.lru_cache
def _loaded(path: Path, changed: int, tasks: tuple[str, ...]) -> tuple[Any, Any]:
    # Even where the first call is traced, the weights are to be constants that later calls can use.
    with jax.ensure_compile_time_eval():
        network, notes = load_network(path)
        if notes.get("task", tasks[0]) not in tasks:
            raise ValueError(f"{path}: was trained for {notes['task']}, not for {tasks[0]}")
        network.eval()
        return nnx.split(network)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _call(graph: Any, name: str, parameters: Any, *scan: Any) -> Any:
    """What a method of the network says of one scan."""
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], scan)
    outcome = getattr(nnx.merge(graph, parameters), name)(*batch)
    return jax.tree.map(lambda leaf: leaf[0], outcome)
