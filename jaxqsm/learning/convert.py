"""Published weights, from the files their authors share, into our networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import nnx

from jaxqsm.learning.checkpoints import Weights
from jaxqsm.networks import build, flat_weights, with_weights

KERAS_EPSILON, OURS = 1e-3, 1e-5
"""Added to variances by batch normalisation, there and in our :class:`jaxqsm.networks.MoDLQSM`."""

OBJECT = "/.ATTRIBUTES/VARIABLE_VALUE"
"""Ends the names of variables in files of TensorFlow's objects."""


def convert_weights(weights: Mapping[str, np.ndarray], network: str, options: Mapping[str, Any]) -> Any:
    """Our network with published weights.

    Args:
        weights: arrays by their published names, from :func:`~jaxqsm.learning.read_checkpoint`.
        network: one of :data:`CONVERTIBLE`.
        options: of the network's configuration. Published files leave out the means and standard deviations
            that networks were trained with (``chi_std`` …): give them here.

    Raises:
        ValueError: unknown network, or weights of another.
    """
    if network not in CONVERTIBLE:
        raise ValueError(f"weights of {network!r} cannot be converted; known are {', '.join(CONVERTIBLE)}")
    try:
        converted = CONVERTIBLE[network](_Named(weights))
    except KeyError as error:
        raise ValueError(f"not weights of {network}: {error.args[0]} is missing") from None
    ours = build(network, options)
    # Scalars are stored as vectors of one by some.
    wanted = flat_weights(nnx.state(ours))
    shaped = {
        name: value.reshape(wanted[name].shape) if name in wanted and value.size == 1 else value
        for name, value in converted.items()
    }
    return with_weights(ours, shaped)


class _Named:
    """Weights by name, in the order of axes that ours have."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.weights = weights

    def torch_layer(self, name: str, ours: str, *, transposed: bool = False) -> Weights:
        """Convolution (out, in, i, j, k), or a transposed one (in, out, i, j, k), with any bias."""
        axes = (0, 2, 3, 4, 1) if transposed else (2, 3, 4, 1, 0)
        found = {f"{ours}.kernel": self.weights[f"{name}.weight"].transpose(axes)}
        if f"{name}.bias" in self.weights:
            found[f"{ours}.bias"] = self.weights[f"{name}.bias"]
        return found

    def torch_linear(self, name: str, ours: str) -> Weights:
        """Matrix (out, in), with its bias."""
        kernel, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return {f"{ours}.kernel": kernel.T, f"{ours}.bias": bias}

    def torch_norm(self, name: str, ours: str) -> Weights:
        names = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
        return {f"{ours}.{a}": self.weights[f"{name}.{b}"] for a, b in names.items()}

    def keras(self, layer: str, variable: str) -> list[np.ndarray]:
        """A variable of all layers of a kind, in the order in which they were made."""
        pattern = re.compile(rf"(?:^|/){layer}(?:_(\d+))?/{variable}(?::0)?$")
        found = [(int(match[1] or 0), name) for name in self.weights if (match := pattern.search(name))]
        if not found:
            raise KeyError(f"{layer}/{variable}")
        return [self.weights[name] for _, name in sorted(found)]

    def tensorflow(self, scope: str, variable: str) -> np.ndarray:
        """The variable of a scope, whatever scopes enclose it."""
        for name, value in self.weights.items():
            if f"/{name}".endswith(f"/{scope}/{variable}"):
                return value
        raise KeyError(f"{scope}/{variable}")

    def object(self, path: str) -> np.ndarray:
        """The variable at a path of attributes, from a file of TensorFlow's objects."""
        return self.weights[path + OBJECT]

    def has_object(self, path: str) -> bool:
        """Whether there is one."""
        return path + OBJECT in self.weights


def _wide_residual(named: _Named) -> Weights:
    found = named.torch_layer("gen.0", "denoiser.enter")
    blocks = 0
    while f"gen.2.{blocks}.conv1.weight" in named.weights:
        theirs, ours = f"gen.2.{blocks}", f"denoiser.blocks.{blocks}"
        found |= named.torch_layer(f"{theirs}.conv1", f"{ours}.first.convolution")
        found |= named.torch_norm(f"{theirs}.bn1", f"{ours}.first.norm")
        found |= named.torch_layer(f"{theirs}.conv2", f"{ours}.second")
        found |= named.torch_norm(f"{theirs}.bn2", f"{ours}.norm")
        blocks += 1
    for number, place in enumerate((3, 5)):
        found |= named.torch_layer(f"gen.{place}", f"denoiser.points.{number}")
    return found | named.torch_layer("gen.7", "denoiser.leave")


def _lpcnn(named: _Named) -> Weights:
    return _wide_residual(named) | {"step": named.weights["alpha"]}


def _spinet_qsm(named: _Named) -> Weights:
    learned = {"strength": named.weights["lambda_val"], "norm": named.weights["p"]}
    return _wide_residual(named) | learned


def _modl_qsm(named: _Named) -> Weights:
    enter, *inner, first_point, second_point, leave = named.keras("conv3d", "kernel")
    found = {
        "denoiser.enter.kernel": enter,
        "denoiser.points.0.kernel": first_point,
        "denoiser.points.1.kernel": second_point,
        "denoiser.leave.kernel": leave,
        "denoiser.leave.bias": named.keras("conv3d", "bias")[-1],
        "step": named.keras("my_layer", "step")[0],
    }
    names = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
    norms = {ours: named.keras("batch_normalization", theirs) for ours, theirs in names.items()}
    for place, kernel in enumerate(inner):
        block = f"denoiser.blocks.{place // 2}"
        convolution, norm = ("second", "norm") if place % 2 else ("first.convolution", "first.norm")
        found[f"{block}.{convolution}.kernel"] = kernel
        found |= {f"{block}.{norm}.{ours}": each[place] for ours, each in norms.items()}
        found[f"{block}.{norm}.var"] = found[f"{block}.{norm}.var"] + (KERAS_EPSILON - OURS)
    return found


def _qsmnet(named: _Named) -> Weights:
    def convolution(scope: str, ours: str) -> Weights:
        names = {"scale": "bn/gamma", "bias": "bn/beta", "mean": "bn/mean_sh", "var": "bn/var_sh"}
        return {
            f"{ours}.convolution.kernel": named.tensorflow(scope, "conv_weights"),
            f"{ours}.convolution.bias": named.tensorflow(scope, "biases"),
            **{f"{ours}.norm.{a}": named.tensorflow(scope, b) for a, b in names.items()},
        }

    found: Weights = {}
    for place in range(2):
        found |= convolution(f"l_conv{place + 1}", f"body.encoder.levels.4.{place}")
        for level in range(4):
            found |= convolution(f"conv{level + 1}{place + 1}", f"body.encoder.levels.{level}.{place}")
            found |= convolution(f"conv{level + 5}{place + 1}", f"body.decoder.levels.{level}.{place}")
    for level in range(4):
        # They join what comes from below behind the skipped images, ours before them.
        joining = f"body.decoder.levels.{level}.0.convolution.kernel"
        skipped, below = np.split(found[joining], 2, axis=3)
        found[joining] = np.concatenate([below, skipped], axis=3)
        # (i, j, k, out, in)
        kernel = named.tensorflow(f"deconv{4 - level}", "deconv_weights")
        found[f"body.decoder.ups.{level}.kernel"] = kernel.transpose(4, 0, 1, 2, 3)
        found[f"body.decoder.ups.{level}.bias"] = named.tensorflow(f"deconv{4 - level}", "biases")
    found["body.decoder.leave.kernel"] = named.tensorflow("out", "weights")
    found["body.decoder.leave.bias"] = named.tensorflow("out", "biases")
    return found


def _xqsm(named: _Named) -> Weights:
    def octave(theirs: str, ours: str) -> Weights:
        parts = {"HH": "fine", "LL": "coarse", "HL": "fine_to_coarse", "LH": "coarse_to_fine"}
        found = named.torch_layer(f"{theirs}.up", f"{ours}.up", transposed=True)
        for there, here in parts.items():
            found |= named.torch_layer(f"{theirs}.conv{there}", f"{ours}.{here}")
            found |= named.torch_norm(f"{theirs}.BN_{there}", f"{ours}.{here}_norm")
        return found

    def ends(theirs: str, ours: str, coarse: str) -> Weights:
        found: Weights = {}
        for there, here in (("HH", "fine"), (coarse, "coarse")):
            found |= named.torch_layer(f"{theirs}.conv{there}", f"{ours}.{here}")
            found |= named.torch_norm(f"{theirs}.BN_{there}", f"{ours}.{here}_norm")
        return found

    found = ends("InputOct.EncodeConv1", "split", "HL") | octave("InputOct.EncodeConv2", "enter")
    level = 0
    while f"EncodeConvs.{level}.EncodeConv1.convHH.weight" in named.weights:
        up, ours_up = f"DecodeConvs.{level}.up", f"ups.{level}"
        for there, here in (("HH", "fine"), ("LH", "coarse_to_fine"), ("LL", "coarse")):
            found |= named.torch_layer(f"{up}.up_{there}", f"{ours_up}.{here}", transposed=True)
        found |= named.torch_layer(f"{up}.up_HL", f"{ours_up}.fine_to_coarse")
        found |= named.torch_norm(f"{up}.BN_H", f"{ours_up}.fine_norm")
        found |= named.torch_norm(f"{up}.BN_L", f"{ours_up}.coarse_norm")
        for place in range(2):
            found |= octave(
                f"EncodeConvs.{level}.EncodeConv{place + 1}", f"encoders.{level}.{place}"
            ) | octave(f"DecodeConvs.{level}.DecodeConv{place + 1}", f"decoders.{level}.{place}")
        level += 1
    for place in range(2):
        found |= octave(f"MidConv1.MidConv{place + 1}", f"bottom.{place}")
    found |= ends("FinalOct", "leave", "LH")
    found |= named.torch_layer("FinalOct.up", "leave.up", transposed=True)
    return found | named.torch_layer("FinalOct.FinalConv", "leave.last")


def _phase_filters(named: _Named) -> tuple[str, Weights]:
    """What precedes the names of the U-Net's weights, and the filters before it."""
    prefix = "Unet." if any(name.startswith("Unet.") for name in named.weights) else ""
    layer = "LoT_Layer." if "LoT_Layer.conv_x" in named.weights else ""
    return prefix, {
        "laplacian": named.weights[f"{layer}conv_x"].transpose(2, 3, 4, 1, 0),
        "filters": named.weights[f"{layer}conv_y"].transpose(2, 3, 4, 1, 0),
    }


def _iqsm(named: _Named) -> Weights:
    prefix, found = _phase_filters(named)

    def twice(theirs: str, ours: str) -> Weights:
        found: Weights = {}
        for place in range(2):
            found |= named.torch_layer(f"{theirs}.{3 * place}", f"{ours}.{place}.convolution")
            found |= named.torch_norm(f"{theirs}.{3 * place + 1}", f"{ours}.{place}.norm")
        return found

    level = 0
    while f"{prefix}EncodeConvs.{level}.EncodeConv.0.weight" in named.weights:
        up = f"{prefix}DecodeConvs.{level}.up"
        found |= twice(f"{prefix}EncodeConvs.{level}.EncodeConv", f"body.encoder.levels.{level}")
        found |= twice(f"{prefix}DecodeConvs.{level}.DecodeConv", f"body.decoder.levels.{level}")
        found |= named.torch_layer(f"{up}.0", f"body.decoder.ups.{level}", transposed=True)
        found |= named.torch_norm(f"{up}.1", f"body.decoder.norms.{level}")
        level += 1
    found |= twice(f"{prefix}MidConv1.MidConv", f"body.encoder.levels.{level}")
    return found | named.torch_layer(f"{prefix}FinalConv", "body.decoder.leave")


def _iqsm_plus(named: _Named) -> Weights:
    prefix, found = _phase_filters(named)

    def oriented(theirs: str, ours: str) -> Weights:
        found = named.torch_layer(f"{theirs}.EncodeConv.0", f"{ours}.convolution")
        found |= named.torch_norm(f"{theirs}.BN_RELU.0", f"{ours}.norm")
        for their_reader, reader in (("embed_hwd", "kernel"), ("embed_c", "style")):
            for number, place in enumerate((1, 3)):
                found |= named.torch_linear(
                    f"{theirs}.{their_reader}.embd.{place}", f"{ours}.{reader}.{number}"
                )
        return found

    def twice(theirs: str, ours: str) -> Weights:
        layers = [oriented(f"{theirs}.embd_layer{i + 1}", f"{ours}.layers.{i}") for i in range(2)]
        return layers[0] | layers[1]

    for number, place in enumerate((0, 2)):
        found |= named.torch_linear(f"{prefix}Z_embed.{place}", f"body.coder.{number}")
    found |= oriented(f"{prefix}ini_embd_layer", "body.enter")
    depth = 0
    while f"{prefix}EncodeConvs.{depth}.embd_layer1.EncodeConv.0.weight" in named.weights:
        found |= twice(f"{prefix}EncodeConvs.{depth}", f"body.encoders.{depth}")
        depth += 1
    found |= twice(f"{prefix}MidConv1", f"body.encoders.{depth}")
    for level in range(depth):
        theirs = f"{prefix}DecodeConvs.{depth - 1 - level}"  # deepest first
        found |= named.torch_layer(f"{theirs}.up.0", f"body.ups.{level}.convolution", transposed=True)
        found |= named.torch_norm(f"{theirs}.up.1", f"body.ups.{level}.norm")
        found |= twice(theirs, f"body.decoders.{level}")
    return found | named.torch_layer(f"{prefix}FinalConv", "body.leave")


def _nextqsm(named: _Named) -> Weights:
    """From two files: the background's network is the root of the one, the other's is ``nets``."""

    def layer(theirs: str, ours: str, *, transposed: bool = False) -> Weights:
        kernel = named.object(f"{theirs}/parts/0/kernel")
        if transposed:
            # A transposed convolution of stride 2 is one of the spread image, with the kernel turned round.
            kernel = kernel[::-1, ::-1, ::-1].swapaxes(3, 4)
        return {f"{ours}.kernel": kernel, f"{ours}.bias": named.object(f"{theirs}/parts/0/bias")}

    found: Weights = {}
    for theirs, ours in (("", "background"), ("nets/", "regulariser")):
        found |= layer(f"{theirs}encoder/0", f"{ours}.enter") | layer(f"{theirs}last_conv", f"{ours}.leave")
        level = 0
        while named.has_object(f"{theirs}decoder/{level}/parts/0/kernel"):
            found |= layer(f"{theirs}encoder/{level + 1}", f"{ours}.downs.{level}")
            found |= layer(f"{theirs}decoder/{level}", f"{ours}.ups.{level}", transposed=True)
            level += 1
    strengths = [named.object("lambdas/0")]
    while named.has_object(f"lambdas/{len(strengths)}"):
        strengths.append(named.object(f"lambdas/{len(strengths)}"))
    return found | {"strengths": np.stack(strengths)}


CONVERTIBLE: Mapping[str, Callable[[_Named], Weights]] = {
    "qsmnet": _qsmnet,
    "xqsm": _xqsm,
    "lpcnn": _lpcnn,
    "spinet_qsm": _spinet_qsm,
    "modl_qsm": _modl_qsm,
    "iqsm": _iqsm,
    "iqsm_plus": _iqsm_plus,
    "nextqsm": _nextqsm,
}
"""Networks whose published weights can be read, by our names: of the authors' repositories SNU-LIST/QSMnet
and QSMxT/NeXtQSM (TensorFlow), Ruimin-Feng/MoDL-QSM (Keras), sunhongfu/deepMRI, Sulam-Group/LPCNN and
venkateshvaddadi/SpiNet-QSM (PyTorch)."""
