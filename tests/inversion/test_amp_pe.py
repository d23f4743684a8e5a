"""Parameters that are found are right where they are known, and outliers do not count."""

import sys
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import brain_of_blocks, relative_error
from scipy.integrate import quad

from jaxqsm import Geometry
from jaxqsm.inversion import amp_pe, tv
from jaxqsm.physics import dipole_field

mean_size = sys.modules["jaxqsm.inversion.amp_pe"]._mean_size


@pytest.mark.parametrize("observed", [-8.0, -0.5, 0.0, 2.0, 300.0])
@pytest.mark.parametrize("rate", [0.2, 3.0])
def test_mean_size_is_that_of_the_posterior(observed, rate, x64):
    standard_deviation = 1.3

    def density(v, power):
        return abs(v) ** power * np.exp(
            -rate * abs(v) - (observed - v) ** 2 / (2 * standard_deviation**2) + shift
        )

    best = np.sign(observed) * max(abs(observed) - rate * standard_deviation**2, 0)
    shift = rate * abs(best) + (observed - best) ** 2 / (2 * standard_deviation**2)
    ends = best - 15 * standard_deviation, best + 15 * standard_deviation
    around = sorted({*ends, best} | ({0.0} if ends[0] < 0 < ends[1] else set()))

    def integral(power):
        return sum(quad(density, a, b, args=(power,))[0] for a, b in pairwise(around))

    found = mean_size(jnp.array(observed), jnp.array(standard_deviation), jnp.array(rate))
    assert float(found) == pytest.approx(integral(1) / integral(0), rel=1e-5)


@pytest.mark.slow
def test_outliers_do_not_count():
    """A few voxels are off by half a turn; total variation believes them, this does not."""
    mask, chi = brain_of_blocks()
    chi = np.where(mask, chi - chi[mask].mean(), 0).astype(np.float32)
    geometry = Geometry()
    field = np.array(dipole_field(jnp.asarray(chi), geometry))
    field += 1e-3 * np.random.default_rng(0).standard_normal(field.shape)
    spoiled = field.copy()
    chosen = np.random.default_rng(1).permutation(np.flatnonzero(mask))[: mask.sum() // 300]
    spoiled.flat[chosen] += 0.2
    given = [jnp.asarray(v, jnp.float32) for v in (field, spoiled)]
    mask = jnp.asarray(mask)

    def cost(method):
        clean, fooled = (relative_error(method(f, mask, geometry), chi, mask) for f in given)
        return fooled - clean

    costs = {method.__name__: cost(method) for method in (amp_pe, tv)}
    assert costs["amp_pe"] < 0.05
    assert costs["tv"] > 3 * costs["amp_pe"]
    gradient = jax.grad(
        lambda f: jnp.sum(amp_pe(f, mask, geometry, outer_iterations=6, max_iterations=30) ** 2)
    )(given[0])
    assert jnp.isfinite(gradient).all()
    assert jnp.abs(gradient).max() > 0
