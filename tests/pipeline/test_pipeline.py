import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_gradient, ball, relative_error, smooth_blobs
from scipy import ndimage

from jaxqsm import Acquisition, Geometry
from jaxqsm.methods import COMMANDS, METHODS, Option
from jaxqsm.phantoms import head
from jaxqsm.physics import dipole_field, gre_signal
from jaxqsm.pipeline import (
    Config,
    box_around,
    cut,
    put_back,
    reconstruct,
)
from jaxqsm.simulation import simulate_scan

SHAPE = (16, 16, 14)
ACQUISITION = ((0.004, 0.012, 0.020), 3.0)
MASK = ball(SHAPE, 6)


def _signal(direction=(0.2, 0.1, 0.95)):
    """Sources inside and outside the mask, smooth coil phase, decay, a receive field.

    The receive field matters for gradients: weights relative to the largest have a kink where many
    voxels share it.
    """
    chi = 0.3 * smooth_blobs(SHAPE)
    chi[1:3, 6:9, 5:8] = 3.0
    geometry = Geometry((1.0, 1.1, 1.3), direction)
    field = dipole_field(jnp.asarray(chi), geometry, kernel="integrated")
    x = jnp.asarray(np.indices(SHAPE)[0])
    return gre_signal(
        field, Acquisition(*ACQUISITION), m0=1 + 0.03 * x, r2star=25.0, phase_offset=0.3 + 0.02 * x
    )


GRADIENT_CASES = {
    "v_sharp, tkd": Config(
        background="v_sharp",
        inversion="tikhonov",
        options={"v_sharp": {"radii": (3.0, 2.0)}, "tikhonov": {"weight": 0.02}},
    ),
    "pdf, ndi": Config(
        background="pdf",
        inversion="ndi",
        options={
            "pdf": {"max_iterations": 5, "erosion": 0.0},
            "ndi": {"max_iterations": 5, "early_stopping": False},
        },
    ),
    "laplacian, tv": Config(
        unwrapping="laplacian",
        background="pdf",
        inversion="tv",
        options={
            "pdf": {"max_iterations": 4, "erosion": 0.0},
            "tv": {"tolerance": 1e-11, "max_iterations": 20000, "weight": 2e-3},
        },
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if "tkd" not in n else []) for n in GRADIENT_CASES]
)
def test_gradient_from_chi_to_complex_signal_and_field_direction(name, x64):
    """The whole chain: offset, unwrapping, fit, background, inversion; against finite differences."""
    config = GRADIENT_CASES[name]
    direction = jnp.array([0.2, 0.1, 0.95])
    signal = jnp.asarray(np.asarray(_signal()), complex)
    mask = jnp.asarray(MASK)
    weights = jnp.asarray(np.random.default_rng(0).standard_normal(SHAPE))

    def loss(s, b):
        geometry = Geometry((1.0, 1.1, 1.3), b)
        return jnp.sum(weights * reconstruct(s, mask, geometry, Acquisition(*ACQUISITION), config).chi)

    assert_gradient(lambda s: loss(s, direction), signal, step=1e-5, rtol=5e-3)
    assert_gradient(lambda b: loss(signal, b), direction, step=1e-5, rtol=5e-3)


def test_gradient_is_finite_where_there_is_no_signal():
    signal = _signal().at[0].set(0)
    config = Config(background="v_sharp", inversion="tkd", options={"v_sharp": {"radii": (3.0, 2.0)}})

    def loss(s):
        maps = reconstruct(s, jnp.asarray(MASK), Geometry(), Acquisition(*ACQUISITION), config)
        return jnp.sum(maps.chi**2)

    gradient = jax.grad(loss)(signal)
    assert jnp.isfinite(gradient).all()
    assert jnp.abs(gradient).max() > 0


def test_jit_equals_plain_and_stages_are_told():
    options = {"v_sharp": {"radii": (3.0, 2.0)}, "tikhonov": {"weight": 0.05}}
    config = Config(background="v_sharp", inversion="tikhonov", options=options)
    arguments = (_signal(), jnp.asarray(MASK), Geometry(), Acquisition(*ACQUISITION))
    seen = []

    @contextlib.contextmanager
    def stage(name):
        seen.append(name)
        yield lambda result: result

    plain = reconstruct(*arguments, config, stage=stage)
    assert seen == [
        "phase offset",
        "unwrapping",
        "field mapping",
        "background (v_sharp)",
        "inversion (tikhonov)",
        "forward model",
    ]
    jitted = jax.jit(lambda *a: reconstruct(*a, config))(*arguments)
    np.testing.assert_allclose(jitted.chi, plain.chi, atol=1e-5)


def test_residual_is_what_chi_does_not_explain():
    config = Config(background="v_sharp", inversion="tkd", options={"v_sharp": {"radii": (3.0, 2.0)}})
    maps = reconstruct(_signal(), jnp.asarray(MASK), Geometry(), Acquisition(*ACQUISITION), config)
    expected = np.asarray(maps.local_field - dipole_field(maps.chi, Geometry()))
    inside = np.asarray(maps.mask)
    expected = np.where(inside, expected - expected[inside].mean(), 0)
    np.testing.assert_allclose(maps.residual, expected, atol=1e-5)


def test_head_end_to_end_oblique_and_anisotropic():
    """A coarse head, tilted: the map correlates with the truth, and only in its own direction."""
    phantom = head((3.0, 2.5, 3.0))
    geometry = Geometry((3.0, 2.5, 3.0), (0.3, 0.2, 0.93))
    acquisition = Acquisition((0.004, 0.012, 0.020), 3.0)
    scan = simulate_scan(phantom, geometry, acquisition, key=jax.random.key(0))
    # Voxels at the border hold part bone and air, which are no background.
    mask = jnp.asarray(ndimage.binary_erosion(phantom.mask))

    def correlation(b0_dir):
        known = Config(options={"ss_tv": {"weight": 4e-4}})  # to choose it is tested elsewhere
        maps = reconstruct(scan.signal, mask, Geometry((3.0, 2.5, 3.0), b0_dir), acquisition, known)
        inside = np.asarray(maps.mask)
        return np.corrcoef(np.asarray(maps.chi)[inside], np.asarray(scan.chi)[inside])[0, 1]

    assert correlation((0.3, 0.2, 0.93)) > 0.87
    assert correlation((-0.3, -0.2, 0.93)) < 0.6


def test_voxels_whose_echoes_disagree_do_not_count():
    """Noise in place of signal, at the border and within: chi elsewhere stays as it is."""
    signal = _signal()
    spoiled = np.zeros(SHAPE, bool)
    spoiled[1:5, 5:11, 5:9], spoiled[8, 8, 7] = True, True
    rng = np.random.default_rng(1)
    noise = 0.3 * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    bad = jnp.where(spoiled[..., None], noise, signal)
    arguments = (jnp.asarray(MASK), Geometry((1.0, 1.1, 1.3), (0.2, 0.1, 0.95)), Acquisition(*ACQUISITION))
    options = {"pdf": {"erosion": 0.0}, "tv": {"weight": 3e-4}}  # too small a scan to choose one from
    config = Config(background="pdf", inversion="tv", options=options)
    right = reconstruct(signal, *arguments, config)
    found = reconstruct(bad, *arguments, config)
    fooled = reconstruct(bad, *arguments, dataclasses.replace(config, reliability=0.0))
    lost = np.asarray(MASK & ~found.mask)
    assert not (lost & ~spoiled).any()
    assert lost.sum() > 0.5 * (spoiled & MASK).sum()
    assert found.mask[8, 8, 7]
    elsewhere = np.asarray(found.mask) & ~ndimage.binary_dilation(spoiled, iterations=2)
    errors = [relative_error(maps.chi, right.chi, elsewhere) for maps in (found, fooled)]
    assert errors[0] < 0.6 * errors[1]


def test_second_pass_keeps_unreliable_voxels_from_the_others():
    """A bleed without signal within: where it has none, χ stays; all around, it no longer throws noise."""
    signal = _signal()
    spoiled = np.zeros(SHAPE, bool)
    spoiled[8, 8, 6:9] = True
    rng = np.random.default_rng(1)
    noise = 0.3 * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    bad = jnp.where(spoiled[..., None], noise, signal)
    arguments = (jnp.asarray(MASK), Geometry((1.0, 1.1, 1.3), (0.2, 0.1, 0.95)), Acquisition(*ACQUISITION))
    once = Config(background="pdf", inversion="tkd", options={"pdf": {"erosion": 0.0}})
    twice = dataclasses.replace(once, two_pass=True)
    right, first, second = (
        reconstruct(s, *arguments, c) for s, c in ((signal, once), (bad, once), (bad, twice))
    )
    mask = np.asarray(second.mask)
    unreliable = mask & (np.asarray(second.reliability) < once.reliability)
    assert unreliable[spoiled].any()
    assert (np.asarray(first.mask) == mask).all()
    assert abs(float(second.chi[mask].mean())) < 1e-6
    errors = [relative_error(maps.chi, right.chi, mask & ~spoiled) for maps in (second, first)]
    assert errors[0] < 0.7 * errors[1]
    # In the voxels left out χ is that of the first pass, but for the mean.
    offset = np.asarray(second.chi - first.chi)[unreliable]
    np.testing.assert_allclose(offset, offset[0], atol=1e-6)
    again = reconstruct(signal, *arguments, twice)  # nothing is unreliable: nothing changes
    np.testing.assert_allclose(again.chi, right.chi, atol=1e-6)
    with pytest.raises(ValueError, match="two_pass inverts a local field twice"):
        Config(two_pass=True)


def test_one_echo_works_and_two_are_asked_for_where_needed():
    one = _signal()[..., 1:2]
    acquisition = Acquisition((0.012,), 3.0)
    config = Config(background="v_sharp", inversion="tkd", options={"v_sharp": {"radii": (3.0, 2.0)}})
    maps = reconstruct(one, jnp.asarray(MASK), Geometry(), acquisition, config)
    assert jnp.isfinite(maps.chi).all()
    for needs_two in (
        Config(phase_offset="mcpc_3d_s"),
        Config(options={"weighted_fit": {"intercept": True}}),
    ):
        with pytest.raises(ValueError, match="two echoes"):
            reconstruct(one, jnp.asarray(MASK), Geometry(), acquisition, needs_two)


def test_configuration_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="'magic' is unknown"):
        Config(inversion="magic")
    with pytest.raises(ValueError, match="no option 'wait'"):
        Config(inversion="tv", options={"tv": {"wait": 1}})
    with pytest.raises(ValueError, match="not in use"):
        Config(options={"ndi": {"max_iterations": 1}})


def test_options_are_parsed_by_their_default():
    assert Option("weight", 0.1).parse("1e-3") == 0.001
    assert Option("max_iterations", 10).parse("20") == 20
    assert Option("radii", (1.0,)).parse("[3, 2]") == (3.0, 2.0)
    assert Option("intercept", False).parse("True") is True
    assert Option("penalty", "gradient").parse("identity") == "identity"
    for default, text in ((0.1, "much"), (10, "1.5"), (False, "1"), ((1.0,), "4")):
        with pytest.raises(ValueError, match="needs"):
            Option("x", default).parse(text)


def test_every_method_documents_itself():
    for members in (*METHODS.values(), *COMMANDS.values()):
        for name, method in members.items():
            assert method.name == name
            assert method.summary.endswith((".", ":"))
            assert "doi:" in method.source, name
            assert ":`" not in method.summary + method.source, name


@pytest.mark.parametrize("corner", [(0, 0, 0), (20, 3, 9)])
def test_box_round_trip(corner):
    shape = (30, 20, 25)
    mask = np.zeros(shape, bool)
    mask[tuple(slice(c, c + 9) for c in corner)] = True
    box = box_around(mask)
    part = cut(mask, box)
    assert all(n % 8 == 0 for n in part.shape)
    assert part.sum() == mask.sum()
    np.testing.assert_array_equal(put_back(part, box, shape), mask)
    assert not part[0].any()
    assert not part[:, :, -1].any()


@pytest.mark.slow
def test_a_bipolar_readout_is_as_good_as_any_once_it_is_named():
    geometry, acquisition = Geometry((4.0, 4.0, 4.0)), Acquisition((0.004, 0.012, 0.020), 3.0)
    phantom = head((4.0, 4.0, 4.0))
    mask = jnp.asarray(phantom.mask)
    cheap = Config(background="v_sharp", inversion="tkd")
    errors = {}
    for bipolar, named in ((False, False), (True, False), (True, True)):
        scan = simulate_scan(phantom, geometry, acquisition, bipolar=bipolar, key=jax.random.key(0))
        maps = reconstruct(
            scan.signal, mask, geometry, acquisition, dataclasses.replace(cheap, bipolar=named)
        )
        difference = np.asarray(maps.total_field - scan.total_field)[np.asarray(mask)]
        errors[bipolar, named] = np.median(np.abs(difference - np.median(difference)))
    assert errors[True, True] < 1.1 * errors[False, False]
    assert errors[True, False] > 5 * errors[True, True]
    uneven, named = Acquisition((0.004, 0.012, 0.030), 3.0), dataclasses.replace(cheap, bipolar=True)
    with pytest.raises(ValueError, match="not at even intervals"):
        reconstruct(scan.signal, mask, geometry, uneven, named)
