"""Volumes that many devices share, and scans that are spread over them."""

from jaxqsm.distributed.mesh import device_mesh as device_mesh
from jaxqsm.distributed.mesh import over_scans as over_scans
from jaxqsm.distributed.mesh import share as share
