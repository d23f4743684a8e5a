"""Every method lowers for GPU and TPU: no call to the host, no float64, no shape that data decide.

The methods and their arguments are read from the registry, so a new method is tried as well.
"""

import inspect
import re

import jax
import jax.numpy as jnp
import pytest

from jaxqsm import Acquisition, Geometry, inversion
from jaxqsm.methods import COMMANDS, METHODS
from jaxqsm.pipeline import Config, reconstruct

SIZES = {"x": 24, "y": 20, "z": 16, "echo": 4, "*echo": 4, "orientation": 6}
KINDS = {"Float": jnp.float32, "Bool": bool, "Complex": jnp.complex64}

OF_KNOWN_GEOMETRY = {"background learned_background"}
"""Methods whose shapes follow the voxel size: it must be known when they are compiled."""

LOWERED = {
    f"{stage} {name}": method
    for stage, several in (METHODS | COMMANDS).items()
    for name, method in several.items()
    if name != "deepbet"  # a network of others, in PyTorch
}
"""Methods that take and give JAX arrays."""


LONG = (
    "learned",
    "qsmnet",
    "ensemble",
    "red",
    "plug_and_play",
    "fine",
    "zero_shot",
    "representation",
    "prior",
)
"""Parts of the names of methods by networks, which take long to trace."""


def _marked(name):
    return pytest.param(name, marks=[pytest.mark.slow] if any(part in name for part in LONG) else [], id=name)


def _abstract(value):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.float32), value)


KNOWN = Geometry()
GEOMETRY = _abstract(KNOWN)
ACQUISITION = _abstract(Acquisition(jnp.linspace(0.004, 0.02, 4), 3.0))
FIELD, MASK = (jax.ShapeDtypeStruct((24, 20, 16), kind) for kind in (jnp.float32, bool))


def _argument(parameter):
    """A value without numbers for an argument, by its annotation; None where it has none to give."""
    text = str(parameter.annotation)
    array = re.search(r"(\w+)\[Array, '?([\w* ]+)'?\]", text)
    if array:
        kind, dimensions = array.groups()
        return jax.ShapeDtypeStruct(tuple(SIZES[d] for d in dimensions.split()), KINDS[kind])
    if parameter.name == "geometries":
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((6, *leaf.shape), leaf.dtype), GEOMETRY)
    if "Geometry" in text:
        return GEOMETRY
    if "Acquisition" in text:
        return ACQUISITION
    if "PRNGKey" in text:
        return jax.eval_shape(lambda: jax.random.key(0))
    return None


def _arguments(function):
    """Positional and keyword arrays of a method."""
    positional, keywords = [], {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.name == "method":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            if parameter.name in ("magnitude", "echo_times", "acquisition", "key"):
                keywords[parameter.name] = _argument(parameter)
        else:
            positional.append(_argument(parameter))
    return positional, keywords


def assert_lowers(function, *positional, **keywords):
    traced = jax.jit(function).trace(*positional, **keywords)
    for platform in ("cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert "callback" not in text, platform
        assert not re.search(r"xf64>|tensor<f64>|complex<f64>", text), platform
        assert "tensor<?" not in text, platform


@pytest.mark.parametrize("name", [_marked(name) for name in LOWERED])
def test_methods_lower_for_gpu_and_tpu(name):
    method = LOWERED[name]
    function = method.function
    if method.takes("method"):
        function = lambda *scan, **options: method.function(inversion.tkd, *scan, **options)  # noqa: E731
    positional, keywords = _arguments(method.function)
    if name in OF_KNOWN_GEOMETRY:
        with pytest.raises(ValueError, match="close over the geometry"):
            assert_lowers(function, *positional, **keywords)
        at = positional.index(GEOMETRY)

        def function(*others, **options):
            return method.function(*others[:at], KNOWN, *others[at:], **options)

        del positional[at]
    assert_lowers(function, *positional, **keywords)


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [None, "bfloat16"])
def test_networks_multiply_in_float32_unless_told_otherwise(wanted):
    """TPUs round the factors of float32 products to bfloat16 by default, GPUs to TF32."""
    method = METHODS["inversion"]["learned"].function

    def fresh(field, mask, geometry):  # traced anew: what was traced before is kept by its function
        return method(field, mask, geometry)

    with jax.default_matmul_precision(wanted):
        text = jax.jit(fresh).trace(FIELD, MASK, GEOMETRY).lower(lowering_platforms=("tpu",)).as_text()
    products = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert len(products) > 5
    exact = [line for line in products if line.count("HIGHEST") == 2]
    assert len(exact) == (0 if wanted else len(products))


@pytest.mark.parametrize("inversion_name", ["tv", pytest.param("learned", marks=pytest.mark.slow)])
def test_the_pipeline_lowers_for_gpu_and_tpu(inversion_name):
    signal = jax.ShapeDtypeStruct((24, 20, 16, 4), jnp.complex64)
    config = Config(inversion=inversion_name)
    assert_lowers(lambda *scan: reconstruct(*scan, config=config), signal, MASK, GEOMETRY, ACQUISITION)


def test_a_host_callback_would_be_noticed():
    def on_host(field):
        return jax.pure_callback(lambda v: v, FIELD, field)

    with pytest.raises(ValueError, match="cuda"):  # refused by JAX itself
        assert_lowers(on_host, FIELD)
