"""Ground truth: analytic bodies, random shapes, anatomical and random heads; scans and patches of them."""

from jaxqsm.phantoms.acquisition import (
    bipolar_phase,
    random_coil_phase,
    sampling_matrix,
    shim,
)
from jaxqsm.phantoms.analytic import cylinder, cylinder_field, sphere, sphere_field
from jaxqsm.phantoms.dataset import patch_dataset
from jaxqsm.phantoms.head import HeadPhantom, head
from jaxqsm.phantoms.patches import Patch, Variety, patch_stream
from jaxqsm.phantoms.protocol import Protocol
from jaxqsm.phantoms.random_head import random_head
from jaxqsm.phantoms.random_shapes import random_field, random_shapes
from jaxqsm.phantoms.scan import Scan, simulate_scan
from jaxqsm.phantoms.tissues import TISSUES, Tissue, TissueValues

__all__ = [
    "TISSUES",
    "HeadPhantom",
    "Patch",
    "Protocol",
    "Scan",
    "Tissue",
    "TissueValues",
    "Variety",
    "bipolar_phase",
    "cylinder",
    "cylinder_field",
    "head",
    "patch_dataset",
    "patch_stream",
    "random_coil_phase",
    "random_field",
    "random_head",
    "random_shapes",
    "sampling_matrix",
    "shim",
    "simulate_scan",
    "sphere",
    "sphere_field",
]
