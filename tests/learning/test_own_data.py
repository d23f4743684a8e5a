"""Scans and networks of one's own: patches obey the physics, and what was trained is used."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
from flax import nnx
from helpers import ball, jaxqsm, jaxqsm_here, relative_error, smooth_blobs
from safetensors.numpy import load_file
from scans import save_nifti

from jaxqsm.geometry import Geometry
from jaxqsm.io import InputError
from jaxqsm.learning import CONFIGS, DataConfig, ScanExamples, TrainingConfig, train
from jaxqsm.networks import read_notes
from jaxqsm.physics import dipole_field
from jaxqsm.pretrained import learned

SHAPE = (36, 34, 32)
GEOMETRY = Geometry((1.0, 1.2, 1.5), (0.0, 0.6, 0.8))
DATA = DataConfig(shape=16, window=4, reuse=1, field_error=(1e-9, 1e-8), cuboids=0.0)


def _write(folder, subjects=("sub-1", "sub-2", "sub-3"), *, chi=True, noise=0.0):
    """Fields of random blobs in a ball, with sources all over it; as ``jaxqsm bids`` names them."""
    affine = np.diag([*np.asarray(GEOMETRY.voxel_size), 1.0])
    mask = ball(SHAPE, 14)
    for number, subject in enumerate(subjects):
        true = 0.1 * smooth_blobs(SHAPE, seed=number, count=30) * mask
        field = np.asarray(dipole_field(jnp.asarray(true), GEOMETRY)) * mask
        field = field + noise * np.random.default_rng(number).standard_normal(SHAPE)
        (folder / subject).mkdir(parents=True)
        stem = f"{subject}_"
        description = {"B0_dir": [float(v) for v in np.asarray(GEOMETRY.b0_dir)]}
        save_nifti(folder / subject / f"{stem}desc-local_fieldmap.nii.gz", field, affine, **description)
        save_nifti(folder / subject / f"{stem}mask.nii.gz", mask.astype(np.uint8), affine)
        if chi:
            save_nifti(folder / subject / f"{stem}Chimap.nii.gz", true, affine)
    return dataclasses.replace(DATA, scans=str(folder))


def _unexplained(example):
    field = dipole_field(example.target, example.geometry)
    return relative_error(example.field, field, example.mask)


def test_measured_patches_are_the_field_of_their_own_sources(tmp_path):
    """Whichever way they are turned. With the sources around them it would be 40 to 48 % unexplained."""
    data = dataclasses.replace(_write(tmp_path), as_measured=1.0)
    measured = ScanExamples(data, "inversion", seed=1)
    assert measured.has_target
    directions = set()
    for number in range(4):
        example = measured[number]
        assert example.mask.mean() > 0.05
        assert _unexplained(example) < 0.1
        directions.add(tuple(np.round(np.asarray(example.geometry.b0_dir), 4)))
    assert len(directions) > 1
    again = ScanExamples(measured.config, "inversion", seed=1)[3]
    np.testing.assert_array_equal(again.field, measured[3].field)


def test_far_sources_are_not_left_in_where_no_map_tells_of_them(tmp_path):
    """Closed-form inversion of the whole finds them, nearly."""
    data = _write(tmp_path / "alone", chi=False)
    alone = ScanExamples(dataclasses.replace(data, turned=False), "inversion", seed=1)
    data = _write(tmp_path / "pairs")
    pairs = ScanExamples(dataclasses.replace(data, turned=False, as_measured=1.0), "inversion", seed=1)
    assert not alone.has_target
    for number in range(3):
        assert relative_error(alone[number].field, pairs[number].field, pairs[number].mask) < 0.3
        assert not alone[number].target.any()


def test_other_patches_have_the_field_of_their_chi_at_another_contrast_with_the_noise_of_the_scan(tmp_path):
    data = dataclasses.replace(_write(tmp_path, noise=0.01), as_measured=0.0, contrast=(3.0, 3.0))
    example = ScanExamples(data, "inversion", seed=1)[2]
    rest = (example.field - np.asarray(dipole_field(example.target, example.geometry)))[example.mask]
    assert 0.007 < rest.std() < 0.013
    assert example.target.max() > 0.15  # three times the scan's own


def test_no_subject_is_both_trained_on_and_held_out(tmp_path):
    subjects = [f"sub-{n}" for n in range(6)]
    examples = ScanExamples(
        dataclasses.replace(_write(tmp_path, subjects), held_out=0.34, as_measured=1.0), "inversion", seed=1
    )
    (note,) = examples.notes
    assert note == "4 scans of 4 subjects; validated on sub-1, sub-4"
    maps = {
        s: nibabel.load(tmp_path / s / f"{s}_Chimap.nii.gz").get_fdata(dtype=np.float32) for s in subjects
    }
    for example in examples.held_out(4):
        target = example.target[0]
        where = [s for s, chi in maps.items() if np.isin(target[target != 0], chi).all()]
        assert where in (["sub-1"], ["sub-4"])
        assert _unexplained(jax.tree.map(lambda leaf: leaf[0], example)) < 0.1


def test_what_cannot_be_trained_is_said(tmp_path):
    data = _write(tmp_path / "pairs")
    with pytest.raises(ValueError, match="task denoising needs simulated scans"):
        ScanExamples(data, "denoising", seed=1)
    with pytest.raises(InputError, match="holds no total field"):
        ScanExamples(data, "single_step", seed=1)
    next((tmp_path / "pairs" / "sub-2").glob("*_Chimap.nii.gz")).unlink()
    with pytest.raises(InputError, match="sub-2: has no chi, which other scans"):
        ScanExamples(data, "inversion", seed=1)
    alone = _write(tmp_path / "alone", chi=False)
    config = TrainingConfig("own", "inversion", steps=1, data=alone)
    with pytest.raises(ValueError, match=r"losses \['l1'\] need maps of χ; use .*model"):
        next(train(config, tmp_path / "run", network=Own(nnx.Rngs(0))))


class Own(nnx.Module):
    """No network of ours: nothing but a call."""

    def __init__(self, rngs):
        self.convolution = nnx.Conv(1, 1, (3, 3, 3), rngs=rngs)

    def __call__(self, field, mask, geometry, weights):
        return self.convolution(field[..., None])[..., 0] * mask


def test_a_module_of_ones_own_is_trained_on_ones_own_scans_and_inverts_with_the_best_weights(tmp_path):
    data = dataclasses.replace(_write(tmp_path / "scans"), batch_size=2)
    config = TrainingConfig(
        "own", "inversion", steps=12, learning_rate=3e-2, warmup=1, validate_every=4, validation=2, data=data
    )
    first = Own(nnx.Rngs(0))
    said = []
    reports = list(train(config, tmp_path / "run", network=first, announce=said.append))
    assert "2 scans of 2 subjects; validated on sub-2" in said
    assert reports[-1].loss < reports[0].loss
    scored = [r.validation for r in reports if r.validation is not None]
    assert len(scored) == 3
    assert reports[0].learning_rate < reports[1].learning_rate > reports[-1].learning_rate > 0
    path = tmp_path / "run" / "weights.safetensors"
    field, mask = jnp.ones((8, 8, 8)), jnp.ones((8, 8, 8), bool)
    field = field.at[4, 4, 4].set(2.0)
    chi = learned(field, mask, GEOMETRY, network=Own(nnx.Rngs(1)), checkpoint=str(path))
    kernel = load_file(path)["function.convolution.kernel"][..., 0, 0]
    column = chi[4, 4, 2:7] - chi[2, 2, 4]
    np.testing.assert_allclose(column[1:4], kernel[1, 1, ::-1], atol=1e-5)  # the response to a point
    with pytest.raises(ValueError, match="another configuration"):
        next(train(dataclasses.replace(config, seed=2), tmp_path / "run", network=first))
    with pytest.raises(ValueError, match="network 'own' is unknown"):
        learned(field, mask, GEOMETRY, checkpoint=str(path))


def test_the_weights_that_are_kept_are_those_of_the_best_validation(tmp_path):
    """A learning rate that is too high: it gets worse after the first steps."""
    data = _write(tmp_path / "scans")
    config = TrainingConfig(
        "own", "inversion", steps=9, learning_rate=3.0, warmup=5, validate_every=1, validation=2, data=data,
        ema=0.0, clip=1e9,
    )  # fmt: skip
    reports = list(train(config, tmp_path / "run", network=Own(nnx.Rngs(0))))
    errors = [r.validation for r in reports]
    assert np.argmin(errors) < len(errors) - 1
    notes = read_notes(tmp_path / "run" / "weights.safetensors")
    assert int(notes["steps"]) == 1 + int(np.argmin(errors))
    assert float(notes["validation"]) == min(errors)


def test_a_training_that_diverges_stops_and_keeps_what_was_good(tmp_path):
    data = _write(tmp_path / "scans")
    config = TrainingConfig(
        "own", "inversion", steps=6, learning_rate=1e-3, validate_every=1, validation=1, data=data
    )
    good = list(train(config, tmp_path / "good", network=Own(nnx.Rngs(0))))
    worse = dataclasses.replace(config, learning_rate=math.nan)
    with pytest.raises(ValueError, match=r"the (loss|validation) is not finite at step \d; use a lower"):
        list(train(worse, tmp_path / "bad", network=Own(nnx.Rngs(0))))
    assert math.isfinite(good[-1].loss)
    weights = tmp_path / "bad" / "weights.safetensors"
    assert not weights.exists() or all(np.isfinite(v).all() for v in load_file(weights).values())


def test_the_command_trains_on_fields_alone_and_says_what_is_wrong(tmp_path):
    _write(tmp_path / "scans", chi=False)
    (tmp_path / "c.toml").write_text(
        'network = "lpcnn"\ntask = "inversion"\nsteps = 2\nvalidation = 1\n'
        "losses = { model = 1.0, total_variation = 0.01 }\n"
        "options = { width = 4, blocks = 1, iterations = 1 }\ndata = { shape = 16, window = 1, reuse = 8 }\n"
    )
    done = jaxqsm("train", "c.toml", "--data", "scans", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fields alone: losses and validation compare with the field" in done.stderr
    assert "holds the weights of step 2 of 2" in done.stderr
    assert (tmp_path / "run" / "weights.safetensors").exists()
    assert list((tmp_path / "run").glob("events.out.tfevents*"))
    done = jaxqsm("train", "c.toml", "--data", "nowhere", "--out", "other", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere: no such folder" in done.stderr
    assert "Traceback" not in done.stderr
    done = jaxqsm_here("train", "nothing", "--out", tmp_path / "other")
    assert done.returncode == 2
    names = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.toml")))
    assert f"no such file; give a TOML file, or one of {names}" in done.stderr
