"""Background field removal: total field to local field and the mask where it is valid."""

from jaxqsm.background.harperella import harperella, iharperella
from jaxqsm.background.ismv import ismv
from jaxqsm.background.lbv import lbv
from jaxqsm.background.msmv import msmv
from jaxqsm.background.pdf import pdf
from jaxqsm.background.polynomial import polynomial
from jaxqsm.background.resharp import resharp
from jaxqsm.background.sdf import sdf
from jaxqsm.background.sharp import sharp
from jaxqsm.background.v_sharp import v_sharp

__all__ = [
    "harperella",
    "iharperella",
    "ismv",
    "lbv",
    "msmv",
    "pdf",
    "polynomial",
    "resharp",
    "sdf",
    "sharp",
    "v_sharp",
]
