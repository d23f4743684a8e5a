"""The result of a stage that narrows the mask."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Bool, Float


class MaskedVolume(NamedTuple):
    """A volume and the mask where its values are valid; zero outside.

    Attributes:
        values: local field or χ, ppm, shape ``(x, y, z)``.
        mask: boolean, of the same shape.
    """

    values: Float[Array, "x y z"]
    mask: Bool[Array, "x y z"]

    @classmethod
    def of(cls, found: MaskedVolume | Float[Array, "x y z"], mask: Bool[Array, "x y z"]) -> MaskedVolume:
        """Take the result of any stage; one without a mask of its own is valid in ``mask``."""
        return cls(*found) if isinstance(found, tuple) else cls(found, mask)
