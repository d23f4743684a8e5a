"""The same scan gives the same χ, however it is tuned, stored, scaled, ordered, padded or sized."""

import functools

import hypothesis
import hypothesis.strategies as st
import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt
from scans import SmallScan, read, save_nifti, small_scan, write_echoes, write_whole

from jaxqsm.io import InputError, load, load_scan, save
from jaxqsm.pipeline import Config, MaskConfig, reconstruct_scan

SAME = 1e-3
"""Relative L2 distance of two maps that are the same."""

FAST = Config(background="v_sharp", inversion="tkd")

BY_EXAMPLES = hypothesis.settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)


def _distance(chi, other):
    return float(np.linalg.norm(chi - other) / np.linalg.norm(other))


def _chi(folder, scan, config=Config(), **options):
    return reconstruct_scan(read(folder, scan, **options), config).maps.chi


@functools.cache
def _plain(times=(0.004, 0.008, 0.012)):
    return small_scan(echo_times=times)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """χ of the plain scan by default, and quickly, by its echo times."""

    @functools.cache
    def of(times=(0.004, 0.008, 0.012), config=None):
        folder = tmp_path_factory.mktemp("plain")
        return _chi(folder, _plain(times), Config() if config is None else FAST)

    return of


ECHO_TIMES = [(0.004, 0.008, 0.012), (0.00692, 0.01345, 0.01998, 0.02651), (0.003, 0.0075, 0.0161), (0.02,)]


@BY_EXAMPLES
@hypothesis.given(st.floats(-200, 200), st.floats(-np.pi, np.pi), st.sampled_from(ECHO_TIMES))
def test_centre_frequency_and_phase_offset(tmp_path, reference, hertz, offset, times):
    chi = _chi(tmp_path, _plain(times).shifted(hertz, offset), FAST)
    assert _distance(chi, reference(times, "fast")) < SAME


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(unwrapping="laplacian"),
        Config(unwrapping="best_path"),
        *(
            pytest.param(Config(options={"romeo": options}), marks=pytest.mark.slow)
            for options in ({"template": 0}, {"template": 2}, {"individual": True})
        ),
        Config(field_mapping="nonlinear_fit"),
        Config(background="pdf", inversion="tkd"),
    ],
    ids=str,
)
def test_centre_frequency_by_any_method(tmp_path, config):
    scan = _plain((0.00692, 0.01345, 0.01998, 0.02651))
    assert _distance(_chi(tmp_path, scan.shifted(-200.0), config), _chi(tmp_path, scan, config)) < SAME


def test_total_field_keeps_the_frequency_that_it_was_centred_by(tmp_path):
    plain, shifted = (
        reconstruct_scan(read(tmp_path, scan), FAST).maps.total_field
        for scan in (_plain(), _plain().shifted(45.0))
    )
    inside = _plain().mask
    np.testing.assert_allclose((shifted - plain)[inside], 45 / (42.577478518 * 3), atol=1e-4)


@BY_EXAMPLES
@hypothesis.given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([1, -1])] * 3))
def test_storage_order(tmp_path, reference, axes, senses):
    codes = [
        ("LR", "PA", "IS")[axis][0 if sense < 0 else 1] for axis, sense in zip(axes, senses, strict=True)
    ]
    files = write_whole(tmp_path, _plain())
    turned = dict(files)
    for part in ("phase", "magnitude", "mask"):
        given = files[part] if part == "mask" else files[part][0]
        image = nib.load(given)
        wanted = axcodes2ornt(codes)
        change = nib.orientations.ornt_transform(nib.io_orientation(image.affine), wanted)
        path = tmp_path / f"turned_{part}.nii"
        nib.save(image.as_reoriented(change), path)
        turned[part] = path if part == "mask" else [path]
    scan = load_scan(**turned)
    result = reconstruct_scan(scan)
    assert _distance(result.maps.chi, reference()) < SAME
    save(tmp_path / "chi.nii", result.maps.chi, scan.grid)
    written = nib.load(tmp_path / "chi.nii")
    assert "".join(nib.aff2axcodes(written.affine)) == "".join(codes)
    assert _distance(load(tmp_path / "chi.nii").data, reference()) < SAME


@BY_EXAMPLES
@hypothesis.given(st.floats(-10, 18), st.booleans())
def test_scale_of_magnitude_and_nan_outside(tmp_path, reference, exponent, hollow):
    scan = _plain()
    files = write_whole(tmp_path, scan)
    outside = ~scan.mask[..., None]
    magnitude = (scan.magnitude * 10.0**exponent).astype(np.float32)
    phase = np.where(outside, np.nan, scan.phase) if hollow else scan.phase
    magnitude = np.where(outside, np.nan, magnitude) if hollow else magnitude
    files |= {
        "magnitude": [save_nifti(tmp_path / "m.nii", magnitude, scan.affine)],
        "phase": [save_nifti(tmp_path / "p.nii", phase, scan.affine, Units="rad")],
    }
    assert _distance(reconstruct_scan(load_scan(**files)).maps.chi, reference()) < SAME


@BY_EXAMPLES
@hypothesis.given(st.permutations([0, 1, 2]), st.permutations([0, 1, 2]))
def test_order_of_echoes(tmp_path, reference, phase_order, magnitude_order):
    phases, magnitudes = write_echoes(tmp_path, _plain())
    scan = load_scan(
        [phases[i] for i in phase_order],
        [magnitudes[i] for i in magnitude_order],
        mask=write_whole(tmp_path, _plain())["mask"],
    )
    assert _distance(reconstruct_scan(scan).maps.chi, reference()) < SAME


@pytest.mark.slow
@BY_EXAMPLES
@hypothesis.given(st.lists(st.integers(0, 9), min_size=6, max_size=6))
def test_padding(tmp_path, reference, widths):
    scan = _plain()
    ends = [tuple(widths[2 * axis : 2 * axis + 2]) for axis in range(3)]
    padded = SmallScan(
        np.pad(scan.signal, [*ends, (0, 0)]), np.pad(scan.mask, ends), scan.echo_times, scan.voxel_size
    )
    chi = _chi(tmp_path, padded)
    inner = tuple(slice(low, low + n) for (low, _), n in zip(ends, scan.mask.shape, strict=True))
    assert _distance(chi[inner], reference()) < SAME


@pytest.mark.parametrize("scale", [0.05, pytest.param(0.7, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "config",
    [
        Config(),
        FAST,
        Config(background="pdf", inversion="tv"),
        pytest.param(Config(background="lbv", inversion="medi"), marks=pytest.mark.slow),
        Config(background="resharp", inversion="tikhonov"),
    ],
    ids=["ss_tv", "v_sharp tkd", "pdf tv", "lbv medi", "resharp tikhonov"],
)
def test_size_of_the_object(tmp_path, config, scale):
    """A mouse, an ex-vivo block, an infant: the same head on voxels as many times smaller."""
    scan = _plain()
    smaller = SmallScan(scan.signal, scan.mask, scan.echo_times, tuple(scale * v for v in scan.voxel_size))
    mouse, adult = (reconstruct_scan(read(tmp_path, s), config) for s in (smaller, scan))
    assert _distance(mouse.maps.chi, adult.maps.chi) < 0.02
    np.testing.assert_array_equal(mouse.maps.mask, adult.maps.mask)
    assert mouse.provenance["object_scale"] == pytest.approx(
        scale * adult.provenance["object_scale"], rel=1e-3
    )


def test_lengths_that_are_set_are_true_ones(tmp_path):
    """Radii in mm of the object itself, in maps and in provenance; and defaults as they were used."""
    scan = _plain()
    smaller = SmallScan(scan.signal, scan.mask, scan.echo_times, (0.3, 0.3, 0.3))
    set_ = Config(background="v_sharp", inversion="tkd", options={"v_sharp": {"radii": (0.9, 0.5)}})
    result = reconstruct_scan(read(tmp_path, smaller), set_)
    options = result.provenance["methods"]["background"]["options"]
    assert options["radii"] == (0.9, 0.5)
    ten = Config(background="v_sharp", inversion="tkd", options={"v_sharp": {"radii": (9.0, 5.0)}})
    larger = reconstruct_scan(read(tmp_path, scan), ten)
    np.testing.assert_array_equal(result.maps.mask, larger.maps.mask)
    assert _distance(result.maps.chi, larger.maps.chi) < SAME
    default = reconstruct_scan(read(tmp_path, smaller), FAST).provenance
    scale = default["object_scale"]
    assert default["methods"]["background"]["options"]["radii"][0] == pytest.approx(20 * scale, rel=1e-3)


@pytest.mark.parametrize("axes", [(2,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("echoes", [(0, 1, 2), (1,)])
def test_signs_that_alternate_are_undone_and_said(tmp_path, reference, axes, echoes):
    scan = _plain()
    sign = 1 - 2 * (sum(np.indices(scan.mask.shape)[axis] for axis in axes) % 2)
    signal = scan.signal.copy()
    for echo in echoes:
        signal[..., echo] *= sign
    faulty = SmallScan(signal, scan.mask, scan.echo_times, scan.voxel_size)
    result = reconstruct_scan(read(tmp_path, faulty))
    told = [note for note in result.notes if "off by π" in note]
    assert len(told) == 1
    assert " and ".join("xyz"[axis] for axis in axes) in told[0]
    if echoes == (0, 1, 2):
        assert _distance(result.maps.chi, reference()) < SAME


def test_poles_of_the_coil_phase_do_not_reach_chi(tmp_path):
    """Open-ended fringe lines, common to all echoes, on voxels of 1 mm as the offset is smoothed in mm."""
    scan = small_scan((40, 40, 36))
    scan = SmallScan(scan.signal, scan.mask, scan.echo_times, (1.0, 1.0, 1.0))
    config = Config()
    x, y, _ = np.indices(scan.mask.shape) - np.reshape([20, 20, 18], (3, 1, 1, 1))
    one = np.arctan2(y - 2.2, x - 1.3)
    two = one - np.arctan2(y + 3.1, x + 4.2)
    plain = _chi(tmp_path, scan, config)
    for pole in (one, two):
        assert _distance(_chi(tmp_path, scan.shifted(phase=pole), config), plain) < 0.05


@pytest.mark.parametrize(
    ("noise_alone", "masking", "config", "mentions"),
    [
        (True, {}, {"background": "v_sharp", "inversion": "tkd"}, "% of the mask's voxels disagree"),
        (False, {"erosion": 40.0}, {}, "half width is 3"),
        (
            False,
            {},
            {"background": "resharp", "options": {"resharp": {"radius": 50.0}}},
            "resharp.radius is 50 mm",
        ),
        (
            False,
            {},
            {"background": "v_sharp", "options": {"v_sharp": {"radii": (90.0, 60.0)}}},
            "v_sharp.radii is 60 mm",
        ),
        (False, {}, {"background": "lbv", "options": {"lbv": {"erosion": 90.0}}}, "lbv.erosion is 90 mm"),
        (False, {}, {"options": {"ss_tv": {"radii": (90.0, 60.0)}}}, "ss_tv.radii is 60 mm"),
    ],
)
def test_a_refusal_names_its_cause_with_a_number(tmp_path, noise_alone, masking, config, mentions):
    scan = _without_field(1.0) if noise_alone else _plain()
    with pytest.raises(InputError) as raised:
        reconstruct_scan(read(tmp_path, scan), Config(**config), MaskConfig(**masking))
    assert mentions in str(raised.value)
    assert "too thin" not in str(raised.value)


def test_echoes_that_disagree_are_a_warning(tmp_path):
    warnings = reconstruct_scan(read(tmp_path, _without_field(0.5)), FAST).warnings
    assert any("% of the mask's voxels disagree" in text and "echo times" in text for text in warnings)


def _without_field(part):
    """Phase of noise alone in a part of the voxels."""
    rng = np.random.default_rng(0)
    noise = np.exp(1j * rng.uniform(-np.pi, np.pi, _plain().signal.shape))
    chosen = rng.random(_plain().mask.shape)[..., None] < part
    signal = np.where(chosen, np.abs(_plain().signal) * noise, _plain().signal)
    return SmallScan(signal, _plain().mask, _plain().echo_times, _plain().voxel_size)
