"""The split field of an inversion and what it follows: the field of χ, perhaps with another found along."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Complex, Float

from jaxqsm.operators import irfftn, laplacian_symbol, rfftn
from jaxqsm.variational.data_terms import Proximal
from jaxqsm.variational.problem import InversionProblem, Volume

Spectrum = Complex[Array, "X Y H"]


class Harmonic(NamedTuple):
    """Another field h beside that of χ, harmonic in places, as that of sources outside is.

    Its Laplacian is split off too.

    Attributes:
        kept: share of the split Laplacian that one step keeps in each voxel: 0 where h is harmonic, 1 where
            it is free, between where its Laplacian costs something.
        rho: mm⁴; ADMM penalty parameter of the split Laplacian of h.
    """

    kept: Volume
    rho: ArrayLike = 150.0


class DipoleField:
    """The split field follows Dχ.

    Attributes:
        hessian: the square of χ's spectrum counts with it in ½ ρ |Dχ − field|².
    """

    def __init__(self, given: InversionProblem, rho: ArrayLike):
        self.shape, self.kernel, self.rho = given.shape, given.kernel, rho
        self.hessian = rho * _joined(self.kernel**2)

    def begin(self, fields: Volume) -> Any:
        """Start from a predicted field."""
        return fields

    def proximal(self, data_term: Proximal, state: Any) -> Any:
        """Apply the data term's proximal map."""
        return data_term(state)

    def pull(self, state: Any) -> tuple[Spectrum, Any]:
        """Compute the gradient on χ's spectrum towards the split field, and the state that :meth:`follow`
        needs."""
        spectrum = _joined(self.kernel * rfftn(state))
        return jnp.asarray(self.rho * spectrum), None

    def follow(self, chi: Spectrum, pulled: Any) -> Any:
        """Predict the state from χ."""
        return irfftn(chi * self.kernel, self.shape)


class DipoleAndHarmonicField:
    """The split field follows Dχ + h, and split sources follow ∇²h; interface of :class:`DipoleField`.

    At each frequency h is least ½ tight |Dχ + h − field|² + ½ stiff |∇²h − sources|², eliminated in closed
    form; with e the symbol of −∇², what stays of χ's tie to its field is tight stiff e² / (tight + stiff e²).
    """

    def __init__(self, given: InversionProblem, rho: ArrayLike, harmonic: Harmonic):
        self.shape, self.kernel, self.kept = given.shape, given.kernel, harmonic.kept
        self.energy = laplacian_symbol(given.shape, given.geometry)
        self.tight, self.stiff = rho, harmonic.rho
        self.yielding = 1 / (self.tight + self.stiff * self.energy**2)
        self.followed = self.tight * self.stiff * self.energy * self.yielding
        self.hessian = self.followed * self.energy * self.kernel**2

    def begin(self, fields: Volume) -> Any:
        return fields, jnp.zeros_like(fields)

    def proximal(self, data_term: Proximal, state: Any) -> Any:
        fields, sources = state
        return data_term(fields), self.kept * sources

    def pull(self, state: Any) -> tuple[Spectrum, Any]:
        fields, sources = map(rfftn, state)
        return self.kernel * self.followed * (self.energy * fields + sources), (fields, sources)

    def follow(self, chi: Spectrum, pulled: Any) -> Any:
        (fields, sources), field = pulled, chi * self.kernel
        harmonic = (self.tight * (fields - field) - self.stiff * self.energy * sources) * self.yielding
        spectra = field + harmonic, -self.energy * harmonic
        return tuple(irfftn(spectrum, self.shape) for spectrum in spectra)


def field_split(
    given: InversionProblem, rho: ArrayLike, harmonic: Harmonic | None = None
) -> DipoleField | DipoleAndHarmonicField:
    """Choose the split of the predicted field: that of χ, or with a harmonic field beside it."""
    if harmonic is None:
        return DipoleField(given, rho)
    return DipoleAndHarmonicField(given, rho, harmonic)


def _joined(spectra: Float[Array, "... X Y H"] | Complex[Array, "... X Y H"]) -> Array:
    """Sum over measurements, where there are several."""
    return jnp.sum(spectra, axis=0) if spectra.ndim == 4 else spectra
