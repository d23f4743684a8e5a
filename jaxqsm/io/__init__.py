"""Files in and out, and the only place where units are converted."""

from jaxqsm.io.bids import BidsScan, find_scans, write_dataset_description
from jaxqsm.io.dicom import SignalFiles, converted
from jaxqsm.io.errors import InputError
from jaxqsm.io.grid import Grid, grid_from
from jaxqsm.io.labels import label_names
from jaxqsm.io.nifti import Image, finite_within, load, load_mask, require_same_grid, save, save_json
from jaxqsm.io.orientation import affine_from, geometry_from
from jaxqsm.io.phase import to_radians
from jaxqsm.io.scan import ScanData, direction_of_field, load_magnitude, load_scan
from jaxqsm.io.sidecar import Sidecar, sidecar_of
from jaxqsm.io.simulation import TRUTH, write_simulation
from jaxqsm.io.staging import refuse_existing, staging

__all__ = [
    "TRUTH",
    "BidsScan",
    "Grid",
    "Image",
    "InputError",
    "ScanData",
    "Sidecar",
    "SignalFiles",
    "affine_from",
    "converted",
    "direction_of_field",
    "find_scans",
    "finite_within",
    "geometry_from",
    "grid_from",
    "label_names",
    "load",
    "load_magnitude",
    "load_mask",
    "load_scan",
    "refuse_existing",
    "require_same_grid",
    "save",
    "save_json",
    "sidecar_of",
    "staging",
    "to_radians",
    "write_dataset_description",
    "write_simulation",
]
