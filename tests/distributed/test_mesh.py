"""A volume that eight devices share gives what one device gives, and none of them has it whole."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxqsm.distributed import device_mesh, share

SCRIPT = Path(__file__).with_name("many_devices.py")
slow = pytest.mark.slow


def _run(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _figures(process: subprocess.Popen[str]) -> dict[str, float]:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.mark.parametrize(
    "case",
    [
        "dipole",
        "uneven",
        "tkd",
        "tv",
        *(pytest.param(c, marks=slow) for c in ("medi", "ss_tv", "v_sharp", "gradient")),
    ],
)
def test_eight_devices_share_a_volume(case):
    found = _figures(_run(case))
    # A gradient passes where the penalty bends, and one voxel may fall on either side.
    assert found["error"] < (1e-3 if case == "gradient" else 1e-5)
    assert found["gathered"] < 0.01
    assert found["memory"] < 1.35


@pytest.mark.slow
def test_a_chosen_weight_is_the_same_on_eight_devices():
    assert _figures(_run("chosen_weight"))["error"] < 1e-4


@pytest.mark.parametrize("groups", [8, pytest.param(2, marks=slow)])
def test_scans_are_spread_over_groups(groups):
    found = _figures(_run(f"scans{groups}"))
    assert found["error"] < 1e-5
    assert found["gathered"] < 0.01


@pytest.mark.slow
def test_two_processes_share_a_volume():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    for process in [_run("tv", str(i), port) for i in range(2)]:
        found = _figures(process)
        assert found["devices"] == 8
        assert found["error"] < 1e-5


def test_what_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="cannot be split"):
        device_mesh(scans=2 * len(jax.devices()) + 1)
    two = jax.sharding.AbstractMesh((2, 1), ("scans", "space"))
    with pytest.raises(ValueError, match="3 scans for 2 groups"):
        share(np.zeros((3, 4, 4, 4)), two, scans=True)
