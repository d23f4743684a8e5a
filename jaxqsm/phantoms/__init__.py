"""Ground truth: analytic bodies, random shapes, anatomical and random heads."""

from jaxqsm.phantoms.analytic import cylinder as cylinder
from jaxqsm.phantoms.analytic import cylinder_field as cylinder_field
from jaxqsm.phantoms.analytic import sphere as sphere
from jaxqsm.phantoms.analytic import sphere_field as sphere_field
from jaxqsm.phantoms.head import HeadPhantom as HeadPhantom
from jaxqsm.phantoms.head import head as head
from jaxqsm.phantoms.random_head import random_head as random_head
from jaxqsm.phantoms.random_shapes import random_field as random_field
from jaxqsm.phantoms.random_shapes import random_shapes as random_shapes
from jaxqsm.phantoms.tissues import TISSUES as TISSUES
from jaxqsm.phantoms.tissues import Tissue as Tissue
from jaxqsm.phantoms.tissues import TissueValues as TissueValues
