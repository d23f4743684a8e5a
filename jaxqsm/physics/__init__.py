"""Forward models: susceptibility to field, field to signal, receiver noise."""

from jaxqsm.physics.dipole import dipole_adjoint as dipole_adjoint
from jaxqsm.physics.dipole import dipole_convolve as dipole_convolve
from jaxqsm.physics.dipole import dipole_field as dipole_field
from jaxqsm.physics.dipole import dipole_kernel as dipole_kernel
from jaxqsm.physics.dipole import magnetisation_field as magnetisation_field
from jaxqsm.physics.noise import add_complex_noise as add_complex_noise
from jaxqsm.physics.noise import field_noise as field_noise
from jaxqsm.physics.signal import gre_signal as gre_signal
from jaxqsm.physics.signal import gre_signal_from_chi as gre_signal_from_chi
from jaxqsm.physics.signal import spoiled_gre_amplitude as spoiled_gre_amplitude
from jaxqsm.physics.signal import wrap_phase as wrap_phase
