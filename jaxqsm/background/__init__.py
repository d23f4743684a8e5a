"""Background field removal: total field to local field and the mask where it is valid."""

from jaxqsm.background.harperella import harperella as harperella
from jaxqsm.background.iharperella import iharperella as iharperella
from jaxqsm.background.ismv import ismv as ismv
from jaxqsm.background.lbv import lbv as lbv
from jaxqsm.background.msmv import msmv as msmv
from jaxqsm.background.pdf import pdf as pdf
from jaxqsm.background.polynomial import polynomial as polynomial
from jaxqsm.background.resharp import resharp as resharp
from jaxqsm.background.residual_resharp import residual_resharp as residual_resharp
from jaxqsm.background.sdf import sdf as sdf
from jaxqsm.background.sharp import sharp as sharp
from jaxqsm.background.v_sharp import v_sharp as v_sharp
