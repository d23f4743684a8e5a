"""Files that others keep weights in, read as arrays by name."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxqsm.networks.published_weights import Weights


def read_checkpoint(path: Path) -> Weights:
    """Read arrays by name from a file of PyTorch, TensorFlow, Keras, safetensors or NumPy.

    Args:
        path: a PyTorch ``state_dict`` (.pth, .pt, .pkl; needs PyTorch), the .index file of a TensorFlow
            checkpoint beside its data (needs TensorFlow), weights of Keras (.h5; needs h5py), .safetensors,
            .npz, or .npy (one array, named as the file).

    Raises:
        ValueError: no such file, a library is needed and missing, or a file of another kind.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    return READERS.get(path.suffix, _torch)(path)


def _npy(path: Path) -> Weights:
    try:
        return {path.stem: np.load(path)}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as .npy ({error})") from error


def _npz(path: Path) -> Weights:
    try:
        with np.load(path) as file:
            return dict(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as .npz ({error})") from error


def _safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: cannot be read as safetensors ({error})") from error


def _keras(path: Path) -> Weights:
    try:
        import h5py
    except ImportError:
        raise ValueError(f"{path}: reading Keras files needs h5py: pip install h5py") from None
    found: Weights = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item)

    try:
        with h5py.File(path) as file:
            file.visititems(keep)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read as HDF5 ({error})") from error
    return found


def _tensorflow(path: Path) -> Weights:
    try:
        import tensorflow
    except ImportError:
        raise ValueError(
            f"{path}: reading TensorFlow checkpoints needs TensorFlow: pip install tensorflow"
        ) from None
    try:
        reader = tensorflow.train.load_checkpoint(str(path.with_suffix("")))
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (ValueError, RuntimeError, tensorflow.errors.OpError) as error:
        raise ValueError(f"{path}: cannot be read as a TensorFlow checkpoint ({error})") from error


def _torch(path: Path) -> Weights:
    try:
        import torch
    except ImportError:
        raise ValueError(f"{path}: reading PyTorch files needs PyTorch: pip install torch") from None
    try:
        # Weights only: a pickle may otherwise run any program.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: cannot be read as a PyTorch state_dict ({reason})") from error
    for name in ("state_dict", "model_state", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if not isinstance(state, Mapping):
        raise ValueError(f"{path}: holds no state_dict but {type(state).__name__}")
    # Names of networks that were trained on several GPUs begin with "module.".
    return {str(name).removeprefix("module."): value.numpy() for name, value in state.items()}


READERS: Mapping[str, Callable[[Path], Weights]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".h5": _keras,
    ".hdf5": _keras,
    ".index": _tensorflow,
}
"""By the file's suffix; all others are PyTorch's."""
