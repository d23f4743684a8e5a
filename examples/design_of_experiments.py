# %% [markdown]
# # Where did the field point, and where should the head point next?
#
# Everything in `jaxqsm` can be differentiated with respect to the geometry, through the solvers. So a scan can say itself in
# which direction its field was, and the most telling second orientation of the head is found before anybody is scanned.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from jaxqsm import Geometry
from jaxqsm.inversion import cosmos, tv
from jaxqsm.phantoms import head
from jaxqsm.physics import dipole_field, dipole_kernel
from jaxqsm.pipeline import box_around, cut
from jaxqsm.simulation import Protocol
from jaxqsm.variational import referenced

VOXELS = (3.0, 3.0, 3.0)


def direction(slopes):
    """Unit vector of two numbers: how far the field leans along x and y."""
    return jnp.array([slopes[0], slopes[1], 1.0]) / jnp.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2)


def degrees_between(one, two):
    return float(np.rad2deg(np.arccos(np.clip(np.dot(one, two), -1, 1))))


true = np.asarray(direction([0.22, 0.29]))
protocol = Protocol(voxel_size=VOXELS, b0_dir=tuple(map(float, true)))
scan = protocol.scan(head(protocol.phantom_voxel_size), key=jax.random.key(0))
box = box_around(scan.mask)
mask, local_field, chi = (
    jnp.asarray(cut(np.asarray(v), box)) for v in (scan.mask, scan.local_field, scan.chi)
)
field = (local_field + 0.003 * jax.random.normal(jax.random.key(1), mask.shape)) * mask
truth = referenced(chi * mask, mask)
print(f"the header says axial; the field leans by {degrees_between(true, [0, 0, 1]):.0f} degrees")


# %% [markdown]
# ## The direction of the field, from the field
#
# With a wrong direction no χ of little total variation explains the field. So what is left unexplained is a function of the
# direction, and its gradient comes through the solver: no search over angles.


# %%
@jax.jit
@jax.value_and_grad
def unexplained(slopes):
    geometry = Geometry(VOXELS, direction(slopes))
    misfit = (dipole_field(tv(field, mask, geometry), geometry) - field) * mask
    return jnp.linalg.norm(misfit) / jnp.linalg.norm(field)


steps = 60
optimiser = optax.adam(optax.cosine_decay_schedule(0.05, steps))
slopes, path = jnp.zeros(2), []
memory = optimiser.init(slopes)
for _ in range(steps):
    value, gradient = unexplained(slopes)
    path.append((float(value), degrees_between(direction(slopes), true)))
    change, memory = optimiser.update(gradient, memory)
    slopes = slopes + change
found = np.asarray(direction(slopes))
print(f"found to {degrees_between(found, true):.1f} degrees")


def error_of(b0_dir):
    found_chi = tv(field, mask, Geometry(VOXELS, b0_dir))
    return 100 * float(jnp.linalg.norm(found_chi - truth) / jnp.linalg.norm(truth))


for name, b0_dir in {"header": (0.0, 0.0, 1.0), "found": found, "truth": true}.items():
    print(f"error of chi with the direction of the {name}: {error_of(b0_dir):.0f} %")
fig, left = plt.subplots()
left.plot([100 * v for v, _ in path], "C0")
left.set_xlabel("step")
left.set_ylabel("unexplained part of the field (%)", color="C0")
right = left.twinx()
right.plot([angle for _, angle in path], "C1")
right.set_ylabel("angle to the true direction (degrees)", color="C1")
# %% [markdown]
# ## The second orientation
#
# A field says nothing of χ along the magic-angle cone. A second one, with the head turned, says something of most of it. Before any
# scan, the variance of χ that noise and a prior leave at every frequency is 1 / (Σ D² / σ² + 1 / prior): its mean is a smooth
# function of the angle.

# %%
shape, noise, prior = (64, 64, 64), 0.003, 0.03


def leaning(angle):
    return jnp.array([0.0, jnp.sin(angle), jnp.cos(angle)])


@jax.jit
@jax.value_and_grad
def expected_error(angle):
    kernels = [dipole_kernel(shape, Geometry(VOXELS, b)) for b in (leaning(0.0), leaning(angle))]
    information = sum(kernel**2 for kernel in kernels) / noise**2
    return jnp.sqrt(jnp.mean(1 / (information + 1 / prior**2)))


angle, path = jnp.deg2rad(10.0), []
optimiser = optax.adam(optax.cosine_decay_schedule(0.1, 40))
memory = optimiser.init(angle)
for _ in range(40):
    value, slope = expected_error(angle)
    path.append((float(jnp.rad2deg(angle)), float(value)))
    change, memory = optimiser.update(slope, memory)
    angle = angle + change
best = float(jnp.rad2deg(angle))
print(f"turn the head by {best:.0f} degrees")


# %% [markdown]
# Does it hold for a head? COSMOS of two noisy fields, for several angles:


# %%
def cosmos_error(angle):
    fields, geometries = [], []
    for number, lean in enumerate((0.0, angle)):
        geometry = Geometry(VOXELS, leaning(jnp.deg2rad(lean)))
        clean = dipole_field(truth, geometry)
        fields.append((clean + noise * jax.random.normal(jax.random.key(number), mask.shape)) * mask)
        geometries.append(geometry)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *geometries)
    found_chi = cosmos(jnp.stack(fields), mask, stacked)
    return 100 * float(jnp.linalg.norm(found_chi - truth) / jnp.linalg.norm(truth))


angles = [5, 10, 20, 30, 40, 50, 60, 75, 90]
errors = [cosmos_error(a) for a in angles]
fig, left = plt.subplots()
left.plot(angles, [float(expected_error(jnp.deg2rad(a))[0]) for a in angles], "k-")
left.plot(*zip(*path), "C0.", label="steps of the design")
left.set_xlabel("angle between the orientations (degrees)")
left.set_ylabel("expected error of chi (ppm)")
left.legend()
right = left.twinx()
right.plot(angles, errors, "C1o--")
right.set_ylabel("error of COSMOS on a head (%)", color="C1")
