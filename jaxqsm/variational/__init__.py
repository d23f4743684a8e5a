"""The engine of regularised inversion: a problem, its data terms, its edges, and the ADMM that solves it.

A new variational method is a composition of these, as :mod:`jaxqsm.inversion.tv` shows in its last ten lines.
"""

from jaxqsm.variational.admm import k_space_completion as k_space_completion
from jaxqsm.variational.admm import tgv_admm as tgv_admm
from jaxqsm.variational.admm import total_variation_admm as total_variation_admm
from jaxqsm.variational.common import confidence as confidence
from jaxqsm.variational.common import data_weights as data_weights
from jaxqsm.variational.common import filtered as filtered
from jaxqsm.variational.common import padded_shape as padded_shape
from jaxqsm.variational.common import referenced as referenced
from jaxqsm.variational.data_terms import absolute as absolute
from jaxqsm.variational.data_terms import huber as huber
from jaxqsm.variational.data_terms import linear as linear
from jaxqsm.variational.data_terms import nonlinear as nonlinear
from jaxqsm.variational.data_terms import of_phase as of_phase
from jaxqsm.variational.edges import edge_weighted_shrink as edge_weighted_shrink
from jaxqsm.variational.field_split import Harmonic as Harmonic
from jaxqsm.variational.least_squares import least_squares as least_squares
from jaxqsm.variational.problem import InversionProblem as InversionProblem
from jaxqsm.variational.problem import inversion_problem as inversion_problem
from jaxqsm.variational.problem import smv_filtered as smv_filtered
from jaxqsm.variational.problem import smv_filtered_by_radii as smv_filtered_by_radii
