"""Gradients of every method of the registry at its default options, by central differences.

The weight is the typical one: what the data choose is constant in gradients.
"""

import inspect
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ball, smooth_blobs

from jaxqsm import Acquisition, Geometry
from jaxqsm.methods import METHODS
from jaxqsm.physics import dipole_field, gre_signal

SHAPE = (24, 20, 16)
VOXEL_SIZE, DIRECTION = (1.0, 1.15, 1.3), (0.2, 0.1, 0.95)
TIMES = (0.004, 0.008, 0.012, 0.016)
STAGES = ("inversion", "single_step", "background", "field_mapping", "signal", "relaxometry", "separation")
QUICK = {"tv", "rts", "lbv", "weighted_fit", "arlo"}

FITS = {"deep_image_prior", "fine", "implicit_representation", "zero_shot"}
"""Networks at work on one scan: thousands of steps of an optimiser, whose derivative nobody can take."""

PRIORS = {"plug_and_play", "red"}
"""The denoiser in each of many iterations: hours here."""

FEWER = {
    "tfi": {"outer_iterations": 2, "max_iterations": 8},
    "harperella": {"max_iterations": 8},
    "iharperella": {"max_iterations": 8},
}
"""Conjugate gradients on ill-conditioned problems, whose late iterates differ by rounding alone: there are no
central differences to compare with."""

AT_PARAMETERS = {"amp_pe"}
"""Methods whose derivatives are those at the parameters that they found."""

OF_KNOWN_GEOMETRY = {"learned_background"}
"""Methods whose voxel size is not traced."""


def _marked(stage, method):
    return pytest.param(
        stage, method.name, marks=[] if method.name in QUICK else [pytest.mark.slow], id=method.name
    )


TRIED = [
    _marked(stage, method)
    for stage in STAGES
    for method in METHODS[stage].values()
    if method.name not in FITS | PRIORS | AT_PARAMETERS
]


STEPS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
"""Long ones cross kinks, short ones are lost in rounding (of networks, which keep float32)."""


@cache
def _scan(kind):
    """A noisy scan of blobs in a ball, with voxels of no signal, by the names of arguments."""
    random = np.random.default_rng(0)
    chi = 0.1 * smooth_blobs(SHAPE)
    chi[10:14, 8:12, 6:10] += 0.1
    mask = ball(SHAPE, 7)
    mask[:, :, 12:] |= ball(SHAPE, 11)[:, :, 12:]  # up to the border
    lost = random.random(SHAPE) < 0.01
    image = np.where(lost, 0.0, 1 + 0.3 * smooth_blobs(SHAPE, seed=1)) * mask
    geometry = Geometry(jnp.asarray(VOXEL_SIZE, kind), jnp.asarray(DIRECTION, kind))
    acquisition = Acquisition(jnp.asarray(TIMES, kind), jnp.asarray(3.0, kind))
    field = dipole_field(jnp.asarray(chi, kind), geometry) + 0.003 * random.standard_normal(SHAPE)
    field = jnp.asarray(field * mask, kind)
    background = 0.05 * jnp.asarray(np.indices(SHAPE)[0] - 12, kind) * mask
    r2star = jnp.asarray(20 + 100 * np.abs(chi), kind)
    signal = gre_signal(field, acquisition, m0=jnp.asarray(image, kind), r2star=r2star)
    noise = random.standard_normal((2, *signal.shape))
    signal = signal + 0.01 * (noise[0] + 1j * noise[1]) * (image > 0)[..., None]
    return {
        "local_field": field,
        "total_field": field + background,
        "phase": jnp.angle(signal).astype(kind),
        "signal": signal,
        "r2prime": jnp.asarray(10 * np.abs(chi) * mask, kind),
        "image": jnp.asarray(image, kind),
        "magnitudes": jnp.abs(signal).astype(kind),
        "mask": jnp.asarray(mask),
        "geometry": geometry,
        "acquisition": acquisition,
    }


def _given(method, kind):
    """Arguments by name, of which floating ones are differentiated; and those that are not."""
    scan, given = _scan(kind), {}
    for name, parameter in inspect.signature(method.function).parameters.items():
        if name == "magnitude":
            given[name] = scan["magnitudes" if "echo" in str(parameter.annotation) else "image"]
        elif name in scan and (parameter.default is parameter.empty or name == "acquisition"):
            given[name] = scan[name]
    if method.typical_weight is not None:
        given["weight"] = jnp.asarray(method.typical_weight, kind)
    fixed = {name: value for name, value in given.items() if name in ("mask", "acquisition")}
    if method.name in OF_KNOWN_GEOMETRY:
        fixed["geometry"] = given["geometry"]
    options = FEWER.get(method.name, {}) | {k: v for k, v in method.fixed.items() if k != "weight"}
    return {k: v for k, v in given.items() if k not in fixed}, fixed | options


def _loss(method, kind):
    """A random projection of what the method gives, as a function of what it is differentiated in."""
    varied, fixed = _given(method, kind)

    def loss(varied):
        found = method.function(**varied, **fixed)
        leaves = [leaf for leaf in jax.tree.leaves(found) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        random = np.random.default_rng(1)
        return sum(jnp.sum(jnp.asarray(random.standard_normal(v.shape), kind) * v) for v in leaves)

    return jax.jit(loss), varied


def _directions(gradient, at):
    """One leaf at a time: its gradient and half as much at random, without voxels of no signal: a kink."""
    leaves, structure = jax.tree.flatten(gradient)
    random = np.random.default_rng(2)
    for number, (leaf, value) in enumerate(zip(leaves, jax.tree.leaves(at), strict=True)):
        signal = np.asarray(value) != 0
        steepest = np.conj(np.asarray(leaf)) * signal
        drawn = random.standard_normal(leaf.shape) * signal
        size = np.linalg.norm(steepest)
        direction = steepest / (size if size > 0 else 1) + 0.5 * drawn / max(np.linalg.norm(drawn), 1e-30)
        direction = np.abs(value).max() * direction / np.linalg.norm(direction)
        size = size * np.abs(value).max()
        zeros = [jnp.zeros_like(v) for v in leaves]
        zeros[number] = jnp.asarray(direction, leaf.dtype)
        yield jax.tree.unflatten(structure, zeros), size


def _central(loss, at, direction, step):
    def along(distance):
        return float(loss(jax.tree.map(lambda value, d: value + distance * d, at, direction)))

    return (along(step) - along(-step)) / (2 * step)


@pytest.mark.parametrize(("stage", "name"), TRIED)
def test_gradients_are_those_of_central_differences(stage, name, x64):
    loss, at = _loss(METHODS[stage][name], jnp.float64)
    gradient = jax.jit(jax.grad(loss))(at)
    for direction, size in _directions(gradient, at):
        analytic = sum(
            float(jnp.sum(jnp.real(g * d)))
            for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
        )
        differences = [_central(loss, at, direction, step) for step in STEPS]
        errors = [abs(difference - analytic) for difference in differences]
        assert min(errors) <= 0.02 * max(size, 1e-9), jax.tree.map(jnp.any, direction)


@pytest.mark.parametrize(("stage", "name"), TRIED)
def test_gradients_are_finite_in_single_precision(stage, name):
    """With a mask that touches the border, and voxels of no signal."""
    loss, at = _loss(METHODS[stage][name], jnp.float32)
    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(at)):
        assert np.isfinite(leaf).all()
