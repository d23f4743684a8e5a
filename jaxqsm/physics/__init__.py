"""What nature does: susceptibility makes a field, the field makes phase, the receiver adds noise."""

from jaxqsm.physics.dipole import (
    dipole_adjoint,
    dipole_convolve,
    dipole_field,
    dipole_kernel,
    magnetisation_field,
)
from jaxqsm.physics.noise import add_complex_noise, field_noise
from jaxqsm.physics.signal import (
    gre_signal,
    gre_signal_from_chi,
    spoiled_gre_amplitude,
    wrap_phase,
)

__all__ = [
    "add_complex_noise",
    "dipole_adjoint",
    "dipole_convolve",
    "dipole_field",
    "dipole_kernel",
    "field_noise",
    "gre_signal",
    "gre_signal_from_chi",
    "magnetisation_field",
    "spoiled_gre_amplitude",
    "wrap_phase",
]
