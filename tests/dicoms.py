"""DICOM files as three manufacturers write a multi-echo scan, classic and enhanced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

ECHO_TIMES = (4.0, 8.0, 12.0)
"""ms, as DICOM has them."""

IMAGE_TYPES = {
    "Siemens": {"magnitude": ["ORIGINAL", "PRIMARY", "M", "ND"], "phase": ["ORIGINAL", "PRIMARY", "P", "ND"]},
    "GE": {part: ["ORIGINAL", "PRIMARY", "OTHER"] for part in ("magnitude", "phase", "real", "imaginary")},
    "Philips": {
        "magnitude": ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"],
        "phase": ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"],
    },
}

GE_KINDS = {"magnitude": 0, "phase": 1, "real": 2, "imaginary": 3}
"""Private element (0043,102F)."""


def write_classic(
    folder: Path, parts: dict[str, np.ndarray], manufacturer: str, *, voxel_size=(1.0, 1.0, 1.0)
) -> None:
    """One file a slice, echo and part.

    Args:
        folder: to write into.
        parts: whole numbers ``(x, y, z, echo)`` by part; x to the left, y to the back, z up, as DICOM has it.
        manufacturer: Siemens (a series a part), GE or Philips (one series).
    """
    folder.mkdir(parents=True, exist_ok=True)
    study, frame = generate_uid(), generate_uid()
    for number, (part, volume) in enumerate(parts.items()):
        series = generate_uid()
        for echo in range(volume.shape[3]):
            for z in range(volume.shape[2]):
                data = _base(study, frame, manufacturer, voxel_size)
                data.SeriesInstanceUID = series
                data.SeriesNumber = 5 + number if manufacturer == "Siemens" else 5
                data.ImageType = IMAGE_TYPES[manufacturer][part]
                data.EchoTime, data.EchoNumbers = ECHO_TIMES[echo], echo + 1
                data.EchoTrainLength = volume.shape[3]
                data.InstanceNumber = 1 + z + volume.shape[2] * (echo + volume.shape[3] * number)
                data.ImagePositionPatient = [0.0, 0.0, z * voxel_size[2]]
                data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
                if manufacturer == "GE":
                    block = data.private_block(0x0043, "GEMS_PARM_01", create=True)
                    block.add_new(0x2F, "SS", GE_KINDS[part])
                if manufacturer == "Philips":
                    _philips_scale(data, part)
                _pixels(data, volume[:, :, z, echo])
                data.save_as(folder / f"{part}_{echo}_{z}.dcm", enforce_file_format=True)


def write_enhanced(folder: Path, parts: dict[str, np.ndarray], *, voxel_size=(1.0, 1.0, 1.0)) -> None:
    """One multi-frame file a part and echo, as Siemens XA writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    study, frame = generate_uid(), generate_uid()
    for number, (part, volume) in enumerate(parts.items()):
        series = generate_uid()
        for echo in range(volume.shape[3]):
            data = _base(study, frame, "Siemens", voxel_size, storage=EnhancedMRImageStorage)
            data.SeriesInstanceUID, data.SeriesNumber = series, 5 + number
            data.InstanceNumber, data.SoftwareVersions = echo + 1, "syngo MR XA30"
            data.ImageType = ["ORIGINAL", "PRIMARY", "P" if part == "phase" else "M", "NONE"]
            data.ComplexImageComponent = part.upper()
            del data.PixelSpacing, data.SliceThickness
            shared, measures, plane, times = Dataset(), Dataset(), Dataset(), Dataset()
            measures.PixelSpacing = [voxel_size[1], voxel_size[0]]
            measures.SliceThickness = measures.SpacingBetweenSlices = voxel_size[2]
            plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            times.EffectiveEchoTime = ECHO_TIMES[echo]
            shared.PixelMeasuresSequence = Sequence([measures])
            shared.PlaneOrientationSequence = Sequence([plane])
            shared.MREchoSequence = Sequence([times])
            frames = []
            for z in range(volume.shape[2]):
                one, place, content = Dataset(), Dataset(), Dataset()
                place.ImagePositionPatient = [0.0, 0.0, z * voxel_size[2]]
                one.PlanePositionSequence = Sequence([place])
                content.StackID, content.InStackPositionNumber = "1", z + 1
                content.DimensionIndexValues = [1, z + 1]
                one.FrameContentSequence = Sequence([content])
                frames.append(one)
            data.SharedFunctionalGroupsSequence = Sequence([shared])
            data.PerFrameFunctionalGroupsSequence = Sequence(frames)
            data.NumberOfFrames = len(frames)
            _pixels(data, volume[:, :, 0, echo])
            stack = [volume[:, :, z, echo].T for z in range(volume.shape[2])]
            data.PixelData = np.ascontiguousarray(np.stack(stack).astype("<u2")).tobytes()
            data.save_as(folder / f"{part}_{echo}.dcm", enforce_file_format=True)


def _base(study: str, frame: str, manufacturer: str, voxel_size, storage=MRImageStorage) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = storage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = storage, meta.MediaStorageSOPInstanceUID
    data.Modality, data.Manufacturer, data.PatientID, data.PatientName = "MR", manufacturer, "1", "Nobody"
    data.StudyInstanceUID, data.FrameOfReferenceUID = study, frame
    data.StudyDate, data.StudyTime, data.SeriesTime, data.AcquisitionTime = "20260101", *["120000"] * 3
    data.SeriesDescription = data.ProtocolName = "gre"
    data.MagneticFieldStrength, data.RepetitionTime, data.FlipAngle = 3.0, 30.0, 15.0
    data.ScanningSequence, data.MRAcquisitionType, data.PatientPosition = "GR", "3D", "HFS"
    data.PixelSpacing, data.SliceThickness = [voxel_size[1], voxel_size[0]], voxel_size[2]
    data.SpacingBetweenSlices = voxel_size[2]
    return data


def _philips_scale(data: Dataset, part: str) -> None:
    """Stored 0 … 4095 stand for −π … π in thousandths, as Philips writes phase."""
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = (
        (2 * 3141.59 / 4095, -3141.59, "milliradials") if part == "phase" else (1.0, 0.0, "normalized")
    )


def _pixels(data: Dataset, plane: np.ndarray) -> None:
    signed = plane.min() < 0
    data.Columns, data.Rows = plane.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = int(signed)
    kind = "<i2" if signed else "<u2"
    data.PixelData = np.ascontiguousarray(plane.T.astype(kind)).tobytes()
