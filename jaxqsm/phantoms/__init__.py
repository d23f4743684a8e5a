"""Ground truth: analytic bodies, the anatomical head, and scans simulated from them."""

from jaxqsm.phantoms.analytic import cylinder, cylinder_field, sphere, sphere_field
from jaxqsm.phantoms.head import HeadPhantom, head
from jaxqsm.phantoms.scan import Scan, simulate_scan
from jaxqsm.phantoms.tissues import TISSUES, Tissue, TissueValues

__all__ = [
    "TISSUES",
    "HeadPhantom",
    "Scan",
    "Tissue",
    "TissueValues",
    "cylinder",
    "cylinder_field",
    "head",
    "simulate_scan",
    "sphere",
    "sphere_field",
]
