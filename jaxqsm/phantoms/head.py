"""The anatomical head phantom."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from jaxqsm.phantoms.template import TEMPLATE_ORIGIN, packaged_head
from jaxqsm.phantoms.tissues import TISSUES

BLUR = 0.45
"""Standard deviation, in voxels, of the border between tissues: a voxel averages over its width."""


@dataclasses.dataclass(frozen=True)
class HeadPhantom:
    """Ground truth on one voxel grid; all arrays ``(x, y, z)``.

    Attributes:
        chi: susceptibility in ppm relative to water.
        proton_density: relative to fluid.
        t1: s.
        r2star: 1/s.
        labels: most frequent :class:`~jaxqsm.phantoms.Tissue` of each voxel.
        mask: brain with its fluid and vessels.
        voxel_size: mm.
        origin: position in mm of the first voxel's centre, head axes (right, front, up).
        fibres: unit vectors along nerve fibres, ``(3, x, y, z)``; or None: χ is the same in all directions.
        anisotropy: ppm by which χ along the fibres exceeds χ across them; its mean over directions is
            ``chi``. None without fibres.
    """

    chi: Float[Array, "x y z"]
    proton_density: Float[Array, "x y z"]
    t1: Float[Array, "x y z"]
    r2star: Float[Array, "x y z"]
    labels: UInt8[np.ndarray, "x y z"]
    mask: Bool[np.ndarray, "x y z"]
    voxel_size: tuple[float, float, float]
    origin: tuple[float, float, float]
    fibres: Float[Array, "3 x y z"] | None = None
    anisotropy: Float[Array, "x y z"] | None = None


def head(
    voxel_size: Sequence[float] = (1.0, 1.0, 1.0),
    *,
    field_strength: float = 3.0,
    texture: float = 1.0,
) -> HeadPhantom:
    """Make a whole head with 16 tissues, lesions included, at any voxel size.

    Labels derive from an adult's T1-weighted scan (see ``derive_head_labels.py``). Each tissue
    fills voxels in part at its borders; within a tissue χ, proton density and R2* follow the T1
    image, so that none is piecewise constant.

    Args:
        voxel_size: mm; the labels are 1 mm, so finer grids are smooth, not more detailed.
        field_strength: tesla; T1 and R2* are linear in it through the 3 T and 7 T values.
        texture: scales the variation within tissues; 0 switches it off. Default 1.

    Returns:
        The phantom. Its axes are those of the head; tilt it by the ``b0_dir`` of a geometry.

    Raises:
        ValueError: a voxel size that is not positive.
    """
    size = checked_voxel_size(voxel_size)
    packaged = packaged_head()
    labels, t1_image, brain = packaged["labels"], packaged["t1"].astype(np.float32), packaged["brain"]
    matrices = [_averaging(n, v) for n, v in zip(labels.shape, size, strict=True)]

    def resample(image: np.ndarray) -> Array:
        return jnp.einsum(
            "xyz,ax,by,cz->abc",
            jnp.asarray(image, jnp.float32),
            *matrices,
            optimize="optimal",
            precision="highest",
        )

    intensity = resample(t1_image)
    zeros = jnp.zeros_like(intensity)
    chi, density, t1, r2star, signal = zeros, zeros, zeros, zeros, zeros
    largest, likeliest = zeros, jnp.zeros(intensity.shape, jnp.uint8)
    for tissue, values in TISSUES.items():
        members = labels == tissue
        part = resample(members)
        inner = t1_image[members]
        relative = (intensity - inner.mean()) / max(inner.std(), 1e-3)
        relative = texture * jnp.clip(relative, -2.5, 2.5)
        chi = chi + part * (values.chi + values.texture * relative)
        water = part * values.proton_density * (1 - 0.015 * relative)
        density = density + water
        # Mixtures of signal decay as their bright part does.
        signal = signal + part * (values.proton_density + 1e-4)
        weight = part * (values.proton_density + 1e-4)
        t1 = t1 + weight * values.at_field(values.t1, field_strength)
        rate = values.at_field(values.r2star, field_strength)
        r2star = r2star + weight * rate * (1 + 0.04 * relative)
        likeliest = jnp.where(part > largest, jnp.uint8(tissue), likeliest)
        largest = jnp.maximum(part, largest)
    origin = TEMPLATE_ORIGIN - 0.5 + 0.5 * np.array(size)
    return HeadPhantom(
        chi=chi,
        proton_density=density,
        t1=t1 / signal,
        r2star=r2star / signal,
        labels=np.asarray(likeliest),
        mask=np.asarray(resample(brain) > 0.5),
        voxel_size=size,
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
    )


def _averaging(length: int, size: float) -> Array:
    """Matrix that averages 1 mm samples into voxels of ``size`` mm with soft borders; rows sum to 1."""
    count = int(length / size)
    centres = (np.arange(count) + 0.5) * size - 0.5
    distance = np.arange(length)[None, :] - centres[:, None]
    width = BLUR * max(size, 1.0)
    weights = np.exp(-0.5 * (distance / width) ** 2)
    return jnp.asarray(weights / weights.sum(axis=1, keepdims=True), jnp.float32)


def checked_voxel_size(voxel_size: Sequence[float]) -> tuple[float, float, float]:
    """Check that a voxel size is three positive numbers.

    Raises:
        ValueError: not three, or not all positive.
    """
    if len(voxel_size) != 3 or min(voxel_size) <= 0:
        raise ValueError(f"voxel_size needs three positive entries in mm, got {voxel_size}")
    x, y, z = voxel_size
    return float(x), float(y), float(z)
