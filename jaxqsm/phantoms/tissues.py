"""Tissue labels and the literature values that fill them.

χ: Marques et al. 2021, MRM 86:526, doi:10.1002/mrm.28716 (QSM challenge 2.0 head phantom), relative
to water; the lesions are typical strengths (haemorrhage: Liu et al. 2015, JMRI 42:23,
doi:10.1002/jmri.24768, calls for up to about 1 ppm).

T1: Wright et al. 2008, MAGMA 21:121, doi:10.1007/s10334-008-0104-8, for cortex, white matter,
caudate and putamen; other nuclei take the putamen's; fluid 4.3 s at all fields; muscle, blood and
lesions are assumptions of that order.

R2*: Peters et al. 2007, MRI 25:748, doi:10.1016/j.mri.2007.02.014, for cortex, white matter, caudate
and putamen; pallidum at 3 T is R2 + R2′ of Gelman et al. 1999, Radiology 210:759,
doi:10.1148/radiology.210.3.r99fe41759; other nuclei lie between and, with the pallidum, scale with
field (Li et al. 2009, MRM 62:1652, doi:10.1002/mrm.22156); veins follow 25 ms and 7.4 ms.

Between subjects: χ of deep grey matter follows the iron of Hallgren & Sourander 1958, J Neurochem 3:41,
doi:10.1111/j.1471-4159.1958.tb12607.x, which rises with age as 1 − exp(−rate · age); red nucleus,
substantia nigra and dentate, for which no curve is given there, take the putamen's. The spread that
remains is of the size that Treit et al. 2021, Hum Brain Mapp 42:4597, doi:10.1002/hbm.25569, see at one
age. White matter myelinates with a time constant of 4 years (an assumption of that order).

Proton density, relative to fluid: Kwan, Evans & Pike 1999, IEEE TMI 18:1085, doi:10.1109/42.816072
(the BrainWeb simulator); bone's and lesions' are assumptions.
"""

from __future__ import annotations

import dataclasses
import enum


class Tissue(enum.IntEnum):
    """Labels of the head phantom: the QSM-CI segmentation scheme, and 17 for haemorrhage."""

    CAUDATE = 1
    PALLIDUM = 2
    PUTAMEN = 3
    RED_NUCLEUS = 4
    DENTATE = 5
    SUBSTANTIA_NIGRA = 6
    THALAMUS = 7
    WHITE_MATTER = 8
    GREY_MATTER = 9
    CSF = 10
    VEIN = 11
    BONE = 13
    AIR = 14
    MUSCLE = 15
    CALCIFICATION = 16
    HAEMORRHAGE = 17


INTRACRANIAL = frozenset(Tissue) - {Tissue.BONE, Tissue.AIR, Tissue.MUSCLE}
"""Tissues that a brain mask may hold."""


@dataclasses.dataclass(frozen=True)
class TissueValues:
    """Susceptibility, proton density and relaxation of one tissue.

    Attributes:
        chi: susceptibility in ppm relative to water.
        proton_density: relative to fluid.
        t1: longitudinal relaxation time in s at 3 T and 7 T.
        r2star: effective transverse relaxation rate in 1/s at 3 T and 7 T.
        texture: change of χ in ppm for one standard deviation of T1-weighted intensity.
        spread: standard deviation of χ in ppm between subjects of one age.
        ageing: per year; χ grows with age as 1 − exp(−ageing · age). 0: it does not.
    """

    chi: float
    proton_density: float
    t1: tuple[float, float]
    r2star: tuple[float, float]
    texture: float = 0.0
    spread: float = 0.0
    ageing: float = 0.0

    def at_field(self, pair: tuple[float, float], field_strength: float) -> float:
        """Interpolate a value through 3 T and 7 T to another field, at least half the 3 T value."""
        low, high = pair
        return max(low + (high - low) * (field_strength - 3.0) / 4.0, low / 2)


TISSUES: dict[Tissue, TissueValues] = {
    Tissue.CAUDATE: TissueValues(0.044, 0.84, (1.395, 1.684), (17.0, 50.3), 0.008, 0.012, 0.05),
    Tissue.PALLIDUM: TissueValues(0.131, 0.80, (1.332, 1.644), (37.8, 88.2), 0.012, 0.022, 0.09),
    Tissue.PUTAMEN: TissueValues(0.038, 0.84, (1.332, 1.644), (31.7, 62.1), 0.010, 0.015, 0.04),
    Tissue.RED_NUCLEUS: TissueValues(0.100, 0.80, (1.332, 1.644), (30.0, 70.0), 0.010, 0.025, 0.04),
    Tissue.DENTATE: TissueValues(0.152, 0.80, (1.332, 1.644), (30.0, 70.0), 0.012, 0.025, 0.04),
    Tissue.SUBSTANTIA_NIGRA: TissueValues(0.111, 0.80, (1.332, 1.644), (32.0, 75.0), 0.012, 0.025, 0.04),
    Tissue.THALAMUS: TissueValues(0.020, 0.80, (1.332, 1.644), (20.0, 42.0), 0.010, 0.010),
    Tissue.WHITE_MATTER: TissueValues(-0.030, 0.77, (0.838, 1.126), (18.8, 37.3), 0.008, 0.008, 0.25),
    Tissue.GREY_MATTER: TissueValues(0.020, 0.86, (1.607, 1.939), (15.2, 30.1), 0.008, 0.006),
    Tissue.CSF: TissueValues(0.019, 1.00, (4.3, 4.3), (1.0, 2.0), 0.001, 0.006),
    Tissue.VEIN: TissueValues(0.190, 0.85, (1.6, 2.0), (40.0, 135.0), 0.004, 0.050),
    Tissue.BONE: TissueValues(-2.100, 0.05, (0.4, 0.5), (500.0, 800.0), 0.0, 0.300),
    Tissue.AIR: TissueValues(9.200, 0.00, (4.3, 4.3), (100.0, 100.0)),
    Tissue.MUSCLE: TissueValues(0.000, 0.80, (1.4, 1.8), (33.0, 60.0), 0.010, 0.050),
    Tissue.CALCIFICATION: TissueValues(-1.500, 0.30, (1.0, 1.2), (150.0, 300.0)),
    Tissue.HAEMORRHAGE: TissueValues(0.900, 0.70, (1.2, 1.5), (90.0, 210.0)),
}

AIR_CHI = TISSUES[Tissue.AIR].chi
"""ppm. What surrounds every head: fields are those of χ − ``AIR_CHI`` in empty space."""

WHOLE = 0.98
"""Part of a voxel within the skull that makes it the brain's: half a voxel of bone is −1 ppm."""
