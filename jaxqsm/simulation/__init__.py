"""Simulated scans of phantoms: acquisition, protocols, whole scans, and training patches."""

from jaxqsm.simulation.acquisition import bipolar_phase as bipolar_phase
from jaxqsm.simulation.acquisition import random_coil_phase as random_coil_phase
from jaxqsm.simulation.acquisition import sampling_matrix as sampling_matrix
from jaxqsm.simulation.acquisition import shim as shim
from jaxqsm.simulation.dataset import patch_dataset as patch_dataset
from jaxqsm.simulation.field_errors import field_errors as field_errors
from jaxqsm.simulation.frequency_shifts import ShiftStrengths as ShiftStrengths
from jaxqsm.simulation.frequency_shifts import frequency_shifts as frequency_shifts
from jaxqsm.simulation.patches import Patch as Patch
from jaxqsm.simulation.patches import Variety as Variety
from jaxqsm.simulation.patches import patch_stream as patch_stream
from jaxqsm.simulation.protocol import Protocol as Protocol
from jaxqsm.simulation.readout_errors import brightness as brightness
from jaxqsm.simulation.readout_errors import cut_mask as cut_mask
from jaxqsm.simulation.readout_errors import distorted as distorted
from jaxqsm.simulation.readout_errors import registered as registered
from jaxqsm.simulation.readout_errors import slice_offsets as slice_offsets
from jaxqsm.simulation.scan import Scan as Scan
from jaxqsm.simulation.scan import simulate_scan as simulate_scan
