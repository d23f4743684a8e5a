"""Deep image prior: an untrained network is fitted to one field."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.fitting.descent import descend
from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.networks.blocks.block_u_net import CONDITIONING, BlockUNet, conditioning_vector
from jaxqsm.networks.blocks.data_consistency import at_unit_size
from jaxqsm.networks.blocks.layers import (
    depth_to_space,
    pad_to_multiple,
    space_to_depth,
    unpad,
)
from jaxqsm.variational.common import confidence, referenced

NOISE_CHANNELS = 2
"""Number of channels of fixed random numbers, beside the field and its image through the dipole."""


@partial(jax.jit, static_argnames=("channels", "max_iterations"))
def deep_image_prior(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    acquisition: Acquisition | None = None,
    key: PRNGKeyArray | None = None,
    weight: float = 3e-4,
    channels: int = 32,
    learning_rate: float = 3e-3,
    max_iterations: int = 300,
) -> Float[Array, "x y z"]:
    """Fit an untrained U-Net to one field, with early stopping on held-out voxels.

    Use it where no training data may be used.

    Convolutions make structures before they make noise. The network sees the field, the field through the
    dipole and fixed noise, all by the physics of this scan; there are no training data.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        acquisition: where given, the fit is to exp(i s field), s its ``phase_scale``, so that 2π multiples of
            the phase do no harm. Default: to the field.
        key: of first weights, noise and held-out voxels; default ``jax.random.key(0)``.
        weight: of total variation besides, ppm · mm for a field of 0.02 ppm. Default 3e-4; 0 for none.
        channels: of the U-Net at half resolution. Default 32.
        learning_rate: of Adam. Default 3e-3.
        max_iterations: at most so many count. Default 300.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. A step is a forward and backward pass of the U-Net, so
        whole heads need a GPU.

    References:
        Ulyanov, Vedaldi & Lempitsky 2018, CVPR, doi:10.1109/CVPR.2018.00984; Xiong et al. 2023, MICCAI,
        doi:10.1007/978-3-031-43999-5_35 (MoDIP: for QSM, beside a model of the physics); Zhu et al. 2025,
        Information 16:592, doi:10.3390/info16070592 (DIP-UP: of unwrapping).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = deep_image_prior(jnp.zeros(mask.shape), mask, Geometry(), max_iterations=2, channels=4)
        >>> chi.shape
        (16, 16, 16)
    """
    key = jax.random.key(0) if key is None else key
    of_weights, of_noise, of_voxels = jax.random.split(key, 3)
    data, scale = at_unit_size(local_field, mask, geometry, confidence(weights, magnitude))
    noise = 0.3 * jax.random.normal(of_noise, (NOISE_CHANNELS, *mask.shape))
    images = jnp.stack([data.field, 3 * data.predict(data.weights * data.field), *noise], axis=-1)
    blocks = space_to_depth(pad_to_multiple(images[None], 4))
    numbers = conditioning_vector(data.field, mask, geometry)[None]
    graph, parameters = nnx.split(
        BlockUNet(
            blocks.shape[-1],
            8,
            width=channels,
            conditioning=CONDITIONING,
            slab=10**6,
            rngs=nnx.Rngs(of_weights),
        )
    )

    def image(parameters: nnx.State, _: Array) -> Array:
        out = depth_to_space(nnx.merge(graph, parameters)(blocks, numbers))
        return unpad(out, mask.shape)[0, ..., 0] * mask

    found = descend(
        image,
        parameters,
        data,
        mask,
        geometry,
        of_voxels,
        weight=weight,
        learning_rate=learning_rate,
        max_iterations=max_iterations,
        phase_scale=None if acquisition is None else acquisition.phase_scale * scale,
    )
    return scale * referenced(found.chi, mask)
