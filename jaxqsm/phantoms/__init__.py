"""Ground truth: analytic bodies, random shapes, the anatomical head, and scans simulated from them."""

from jaxqsm.phantoms.analytic import cylinder, cylinder_field, sphere, sphere_field
from jaxqsm.phantoms.head import HeadPhantom, head
from jaxqsm.phantoms.random_shapes import random_field, random_shapes
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
    "random_field",
    "random_shapes",
    "simulate_scan",
    "sphere",
    "sphere_field",
]
