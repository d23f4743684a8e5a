import re

import numpy as np

from jaxqsm import Acquisition, Geometry
from jaxqsm.io import ScanData, grid_from
from jaxqsm.pipeline import Maps, Result
from jaxqsm.report import write_report


def _result(shape=(12, 14, 10)):
    rng = np.random.default_rng(0)
    mask = np.zeros(shape, bool)
    mask[2:-2, 2:-2, 2:-2] = True
    maps = Maps(*(np.where(mask, 0.05 * rng.standard_normal(shape), 0) for _ in range(5)), mask)
    scan = ScanData(
        phase=rng.uniform(-3, 3, (*shape, 2)),
        magnitude=rng.random((*shape, 2)),
        mask=None,
        nonfinite=np.zeros(shape, bool),
        replaced=False,
        grid=grid_from(np.diag([1.0, 1.0, 2.0, 1.0]), shape),
        geometry=Geometry((1.0, 1.0, 2.0)),
        acquisition=Acquisition((0.004, 0.012), 3.0),
        files=(),
        notes=("phase rescaled",),
        warnings=(),
    )
    provenance = {
        "chi_reference": "mean",
        "least_reliability": 0.9,
        "methods": {"inversion": {"method": "tv", "options": {"weight": 3e-4}, "source": "A 2020"}},
        "voxel_size_mm": [1.0, 1.0, 2.0],
        "b0_dir_voxel_axes": [0.0, 0.0, 1.0],
        "echo_times_s": [0.004, 0.012],
        "field_strength_t": 3.0,
        "sources": ["<phase>.nii.gz"],
        "residual_percent_of_local_field": 12.0,
        "versions": {"jaxqsm": "0.1.0"},
    }
    return scan, Result(maps, mask, {"inversion (tv)": 1.0}, ("phase rescaled",), ("look here",), provenance)


def test_page_is_whole_self_contained_and_escaped(tmp_path):
    scan, result = _result()
    write_report(tmp_path / "r.html", scan, result, title="sub-1 & co", scores={"nrmse": "40"})
    page = (tmp_path / "r.html").read_text()
    assert page.count("data:image/png;base64,") == 8  # seven maps and the histogram
    for text in (
        "look here",
        "phase rescaled",
        "sub-1 &amp; co",
        "weight = 0.0003",
        "&lt;phase&gt;",
        "nrmse",
    ):
        assert text in page
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "http" not in page
