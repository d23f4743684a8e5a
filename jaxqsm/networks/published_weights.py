"""Weights as their authors published them, read by the conventions of PyTorch, TensorFlow and Keras."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

Weights = dict[str, np.ndarray]
"""Arrays by name."""

OBJECT = "/.ATTRIBUTES/VARIABLE_VALUE"
"""Ends the names of variables in files of TensorFlow's objects."""


class PublishedWeights:
    """Arrays by their published names, read in the order of axes that ours have."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.weights = weights

    def torch_layer(self, name: str, ours: str, *, transposed: bool = False) -> Weights:
        """Read a convolution (out, in, i, j, k), or a transposed one (in, out, i, j, k), with any bias."""
        axes = (0, 2, 3, 4, 1) if transposed else (2, 3, 4, 1, 0)
        found = {f"{ours}.kernel": self.weights[f"{name}.weight"].transpose(axes)}
        if f"{name}.bias" in self.weights:
            found[f"{ours}.bias"] = self.weights[f"{name}.bias"]
        return found

    def torch_linear(self, name: str, ours: str) -> Weights:
        """Read a matrix (out, in) with its bias."""
        kernel, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return {f"{ours}.kernel": kernel.T, f"{ours}.bias": bias}

    def torch_norm(self, name: str, ours: str) -> Weights:
        names = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
        return {f"{ours}.{a}": self.weights[f"{name}.{b}"] for a, b in names.items()}

    def keras(self, layer: str, variable: str) -> list[np.ndarray]:
        """Read a variable of all layers of a kind, in the order in which they were made."""
        pattern = re.compile(rf"(?:^|/){layer}(?:_(\d+))?/{variable}(?::0)?$")
        found = [(int(match[1] or 0), name) for name in self.weights if (match := pattern.search(name))]
        if not found:
            raise KeyError(f"{layer}/{variable}")
        return [self.weights[name] for _, name in sorted(found)]

    def tensorflow(self, scope: str, variable: str) -> np.ndarray:
        """Read the variable of a scope, whatever scopes enclose it."""
        for name, value in self.weights.items():
            if f"/{name}".endswith(f"/{scope}/{variable}"):
                return value
        raise KeyError(f"{scope}/{variable}")

    def object(self, path: str) -> np.ndarray:
        """Read the variable at a path of attributes, from a file of TensorFlow's objects."""
        return self.weights[path + OBJECT]

    def has_object(self, path: str) -> bool:
        """Check whether there is a variable at that path."""
        return path + OBJECT in self.weights
