"""Versions and device, for provenance."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import jax


def versions() -> dict[str, str]:
    """List the versions of jaxqsm and its numerical dependencies, and the device."""
    found = {"python": platform.python_version()}
    for package in ("jaxqsm", "jax", "jaxlib", "numpy", "scipy", "nibabel"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    device = jax.devices()[0]
    found["device"] = f"{device.platform}: {device.device_kind}"
    return found
