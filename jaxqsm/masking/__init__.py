"""Masks from magnitude. These run on the host: a mask is an input of the compute path."""

from jaxqsm.masking.magnitude import magnitude

__all__ = ["magnitude"]
