"""conv3d against PyTorch: values, both derivatives, and the derivative of the derivative."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxqsm.networks import conv3d
from jaxqsm.networks.blocks.convolution import _native, _native_gradient


def _torch_images(images):
    return torch.tensor(np.moveaxis(images, -1, 1).copy(), requires_grad=True)


def _torch_kernel(kernel):
    return torch.tensor(np.transpose(kernel, (4, 3, 0, 1, 2)).copy(), requires_grad=True)


@settings(max_examples=8, deadline=None)
@given(
    shape=st.tuples(*[st.integers(3, 9)] * 3),
    size=st.tuples(*[st.sampled_from([1, 3, 5])] * 3),
    channels=st.sampled_from([(1, 5), (3, 2), (4, 16), (17, 16), (16, 18)]),
    batch=st.integers(1, 3),
)
def test_values_and_derivatives_are_those_of_pytorch(shape, size, channels, batch):
    random = np.random.default_rng(0)
    images = random.standard_normal((batch, *shape, channels[0])).astype(np.float32)
    kernel = random.standard_normal((*size, *channels)).astype(np.float32)
    cotangent = random.standard_normal((batch, *shape, channels[1])).astype(np.float32)
    out, pull = jax.vjp(conv3d, jnp.asarray(images), jnp.asarray(kernel))
    x, w = _torch_images(images), _torch_kernel(kernel)
    expected = torch.nn.functional.conv3d(x, w, padding="same")
    expected.backward(torch.tensor(np.moveaxis(cotangent, -1, 1).copy()))
    to_images, to_kernel = pull(jnp.asarray(cotangent))
    np.testing.assert_allclose(out, np.moveaxis(expected.detach().numpy(), 1, -1), atol=3e-4)
    np.testing.assert_allclose(to_images, np.moveaxis(x.grad.numpy(), 1, -1), atol=3e-4)
    np.testing.assert_allclose(to_kernel, np.transpose(w.grad.numpy(), (2, 3, 4, 1, 0)), atol=1e-3)


@pytest.mark.parametrize(("channels", "out"), [(3, 4), pytest.param(16, 17, marks=pytest.mark.slow)])
def test_all_formulations_agree_and_gradients_can_be_differentiated(channels, out):
    """A gradient penalty (WGAN-GP) needs the derivative of the derivative."""
    keys = jax.random.split(jax.random.key(0), 2)
    images = jax.random.normal(keys[0], (2, 6, 5, 7, channels))
    kernel = jax.random.normal(keys[1], (3, 3, 3, channels, out)) / channels

    def penalty(convolve):
        def value(images, kernel):
            return jnp.sum(jnp.tanh(convolve(images, kernel)) ** 2)

        def norms(images, kernel):
            to_images, to_kernel = jax.grad(value, (0, 1))(images, kernel)
            return jnp.sum(to_images**2) + jnp.sum(jnp.abs(to_kernel) ** 1.5)

        return jax.grad(norms, (0, 1))(images, kernel)

    for ours, native in zip(penalty(conv3d), penalty(_native), strict=True):
        np.testing.assert_allclose(ours, native, atol=2e-4 * float(jnp.abs(native).max()))
    gradient = _native_gradient(images, conv3d(images, kernel), (3, 3, 3))
    expected = jax.grad(lambda k: 0.5 * jnp.sum(_native(images, k) ** 2))(kernel)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-2)


def test_vmap_and_narrow_types():
    images = jax.random.normal(jax.random.key(0), (3, 1, 4, 4, 4, 2))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 2, 2))
    mapped = jax.vmap(conv3d, (0, None))(images, kernel)
    np.testing.assert_allclose(mapped[2], conv3d(images[2], kernel), atol=1e-5)
    narrow = conv3d(images[0].astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(float), conv3d(images[0], kernel), atol=0.3)


@pytest.mark.parametrize(("kernel", "word"), [((2, 3, 3, 1, 1), "odd"), ((3, 3, 3, 2, 1), "channels")])
def test_kernels_that_do_not_fit_are_refused(kernel, word):
    with pytest.raises(ValueError, match=word):
        conv3d(jnp.zeros((1, 4, 4, 4, 1)), jnp.zeros(kernel))


SPREAD = """
import re
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxqsm.networks import conv3d

jax.config.update("jax_num_cpu_devices", 2)
mesh = Mesh(jax.devices(), ("batch",))
for channels in (4, 16):  # by planes, by tiles
    images = jax.random.normal(jax.random.key(0), (2, 6, 6, 6, channels))
    spread = jax.device_put(images, NamedSharding(mesh, PartitionSpec("batch")))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, channels, channels))
    kernel = jax.device_put(kernel, NamedSharding(mesh, PartitionSpec()))
    loss = jax.jit(lambda i, k: jax.value_and_grad(lambda k: (conv3d(i, k) ** 2).sum())(k))
    one, two = loss(images, kernel), loss(spread, kernel)
    assert jnp.allclose(one[1], two[1], rtol=1e-4, atol=1e-2)
    compiled = loss.lower(spread, kernel).compile().as_text()
    print(sorted(set(re.findall(r" (all-[a-z]+|collective-permute)\\(", compiled))))
"""


def test_devices_that_share_a_batch_exchange_only_the_sum_of_the_kernels_gradient():
    done = subprocess.run([sys.executable, "-c", SPREAD], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["['all-reduce']"] * 2
