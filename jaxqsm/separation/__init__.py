"""Paramagnetic and diamagnetic susceptibility within one voxel."""

from jaxqsm.separation.chi_separation import chi_separation as chi_separation
