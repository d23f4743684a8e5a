"""jaxqsm field: total field of a multi-echo scan."""

from __future__ import annotations

from pathlib import Path

from jaxqsm.cli.options import FieldOptions, MaskOptions, ReadingOptions, SignalOptions
from jaxqsm.cli.run import read_scan, told
from jaxqsm.cli.volumes import check_output, write_volumes
from jaxqsm.pipeline import map_field


def field(
    *,
    out: Path,
    signal: SignalOptions = SignalOptions(),
    mask: Path | None = None,
    out_mask: Path | None = None,
    out_hertz: Path | None = None,
    out_quality: Path | None = None,
    masking: MaskOptions = MaskOptions(),
    methods: FieldOptions = FieldOptions(),
    reading: ReadingOptions = ReadingOptions(),
    overwrite: bool = False,
) -> None:
    """Map the total field in ppm: phase offset removal, unwrapping, weighted fit over echoes.

    Parameters
    ----------
    out
        Total field to write.
    mask
        Where to fit. Default: made from the magnitude.
    out_mask
        Also write the mask that was used.
    out_hertz
        Also write the total field in Hz: a B0 map.
    out_quality
        Also write how far the echoes of a voxel agree on its field, 0 to 1.
    overwrite
        Replace the files.
    """
    check_output(out, overwrite)
    check_output(out_mask, overwrite, option="--out-mask")
    check_output(out_hertz, overwrite, option="--out-hertz")
    check_output(out_quality, overwrite, option="--out-quality")
    config, mask_config = methods.config(), masking.config()
    scan = read_scan(signal, mask, reading)
    result = told(map_field, scan, config, mask_config)
    total = result.maps.total_field
    hertz = total * float(scan.acquisition.hertz_per_ppm)
    quality = result.maps.reliability
    write_volumes({out: total, out_mask: result.mask, out_hertz: hertz, out_quality: quality}, scan.grid)
