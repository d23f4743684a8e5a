"""A method is one file and one line: everything else reads the registry."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
METHOD = '''"""Inversion by Huber's function of the misfit."""

import jax.numpy as jnp

from jaxqsm.geometry import Geometry
from jaxqsm.tuning import weight_from_data
from jaxqsm.variational import huber, inversion_problem, total_variation_admm


@weight_from_data(3e-4)
def huber_tv(local_field, mask, geometry, *, magnitude=None, weights=None, weight, max_iterations=20):
    """Minimise Huber's function of Dχ − field + weight Σ |∇χ|₁.

    Use it where a test needs a method.

    References:
        Huber 1964, Ann Math Stat 35:73, doi:10.1214/aoms/1177703732.
    """
    problem = inversion_problem(local_field, mask, geometry, weights, magnitude)
    term = huber(problem.field, problem.weights, huber_threshold=0.01)
    chi = total_variation_admm(problem, term, weight=weight, tolerance=1e-2, max_iterations=max_iterations)
    return problem.to_scan_grid(chi)
'''
LINE = "from jaxqsm.inversion.huber_tv import huber_tv as huber_tv\n"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The package with one more file and one more line; its weights are links."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(
        ROOT / "jaxqsm", folder / "jaxqsm", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors")
    )
    for weights in (ROOT / "jaxqsm" / "pretrained" / "weights").glob("*.safetensors"):
        (folder / "jaxqsm" / "pretrained" / "weights" / weights.name).symlink_to(weights)
    (folder / "jaxqsm" / "inversion" / "huber_tv.py").write_text(METHOD, encoding="utf-8")
    with (folder / "jaxqsm" / "inversion" / "__init__.py").open("a", encoding="utf-8") as shelf:
        shelf.write(LINE)
    return folder


def _run(package, *command):
    environment = os.environ | {"PYTHONPATH": f"{package}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=package, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_know_a_new_inversion(package, tmp_path):
    jaxqsm = (sys.executable, "-m", "jaxqsm")
    listed = _run(package, *jaxqsm, "methods")
    assert "huber_tv" in listed
    assert "doi:10.1214/aoms/1177703732" in listed
    assert "huber_tv" in _run(package, *jaxqsm, "invert", "--help")
    assert "huber_tv" in _run(package, *jaxqsm, "run", "--help")
    field, mask, out = (tmp_path / f"{name}.nii.gz" for name in ("field", "mask", "chi"))
    rng = np.random.default_rng(0)
    nibabel.save(
        nibabel.Nifti1Image(0.01 * rng.standard_normal((16, 16, 16)).astype(np.float32), np.eye(4)), field
    )
    nibabel.save(nibabel.Nifti1Image(np.ones((16, 16, 16), np.uint8), np.eye(4)), mask)
    options = ("--method", "huber_tv", "--set", "max_iterations=3")
    _run(package, *jaxqsm, "invert", field, "--mask", mask, "--out", out, *options)
    assert np.asarray(nibabel.load(out).dataobj).std() > 0


def test_pages_tests_and_benchmarks_know_a_new_inversion(package):
    code = """
import json, sys
sys.path.insert(0, "ROOT/tests")
import docs.generate as generate
from jaxqsm.methods import METHODS, find_method
from jaxqsm.pipeline import Config
import importlib.util
spec = importlib.util.spec_from_file_location("t", "ROOT/tests/inversion/test_inversion.py")
tests = importlib.util.module_from_spec(spec); spec.loader.exec_module(tests)
from benchmarks.chosen_weights import _weighed
method = find_method("inversion", "huber_tv")
print(json.dumps({
    "path": method.path,
    "tests": "huber_tv" in tests.METHODS and "huber_tv" in tests.WEIGHTED,
    "page": "huber_tv" in generate._stage_page("inversion", METHODS["inversion"]),
    "benchmark": "huber_tv" in [m.name for m in _weighed()],
    "plan": Config(inversion="huber_tv").plan(3).inversion.method.name,
}))
""".replace("ROOT", str(ROOT))
    found = json.loads(_run(package, sys.executable, "-c", code).strip().splitlines()[-1])
    assert found == {
        "path": "jaxqsm.inversion.huber_tv",
        "tests": True,
        "page": True,
        "benchmark": True,
        "plan": "huber_tv",
    }
