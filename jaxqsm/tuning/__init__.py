"""Weights of regularisation, chosen from the data or learned from reference scans."""

from jaxqsm.tuning.choose_weight import choose_weight as choose_weight
from jaxqsm.tuning.choose_weight import typical_weight as typical_weight
from jaxqsm.tuning.learn_weight import ReferenceScan as ReferenceScan
from jaxqsm.tuning.learn_weight import learn_weight as learn_weight
from jaxqsm.tuning.weight_from_data import weight_from_data as weight_from_data
