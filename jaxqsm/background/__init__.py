"""Background field removal: total field to local field and the mask where it is valid."""

from jaxqsm.background.pdf import pdf
from jaxqsm.background.v_sharp import v_sharp

__all__ = ["pdf", "v_sharp"]
