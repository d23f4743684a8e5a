# %% [markdown]
# # Uncertainty you can trust
#
# Three answers to "how sure is this map?", and the test that tells whether to believe them: do nominal 90 % intervals hold
# the truth in 90 % of the voxels?

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from jaxqsm.phantoms import head
from jaxqsm.simulation import Protocol

protocol = Protocol(voxel_size=(3.0, 3.0, 3.0), field_strength=3.0, snr=50.0)
phantom = head(protocol.phantom_voxel_size, field_strength=3.0)
scan = protocol.scan(phantom, key=jax.random.key(0))
geometry, acquisition = protocol.geometry, protocol.acquisition

from jaxqsm.field_mapping import precision
from jaxqsm.inversion import medi
from jaxqsm.pretrained import learned_standard_deviation
from jaxqsm.uncertainty import cone_energy, coverage, laplace, noise_propagation
from jaxqsm.variational import referenced

mask = scan.mask
magnitude = jnp.abs(scan.signal)
noise = (
    jnp.mean(magnitude[mask][:, 0])
    / protocol.snr
    / jnp.maximum(precision(magnitude, acquisition), 1.0)
    * mask
)
field = (scan.local_field + noise * jax.random.normal(jax.random.key(1), mask.shape)) * mask
bright = jnp.linalg.norm(magnitude, axis=-1) * mask
chi = medi(field, mask, geometry, magnitude=bright)
truth = referenced(scan.chi * mask, mask)
error = chi - truth

# %% [markdown]
# - **Noise propagation**: how χ would scatter if the scan were repeated. Exact, through the solver, by implicit
#   differentiation; it knows nothing of bias.
# - **Laplace**: what the field and the prior leave open.
# - **Learned**: what errors looked like on a thousand simulated heads.

# %%
key = jax.random.key(2)
deviations = {
    "noise propagation": noise_propagation(
        medi, field, mask, geometry, noise, key=key, probes=8, magnitude=bright
    ),
    "laplace": laplace(chi, field, mask, geometry, key=key, magnitude=bright, samples=4).standard_deviation,
    "learned": learned_standard_deviation(chi, field, mask, geometry, magnitude=bright),
}
for name, deviation in deviations.items():
    held = float(coverage(error, deviation, mask))
    print(f"{name:18s} nominal 90 % intervals hold the truth in {100 * held:.0f} % of voxels")
print(
    f"part of the error's energy near the magic-angle cone: {float(cone_energy(error, mask, geometry)):.2f}"
)
fig, axes = plt.subplots(1, 4, figsize=(15, 4))
middle = mask.shape[2] // 2
for axis, (name, image) in zip(axes, {"size of the error": jnp.abs(error), **deviations}.items()):
    axis.imshow(np.rot90(np.asarray(image)[:, :, middle]), cmap="magma", vmin=0, vmax=0.04)
    axis.set_title(name)
    axis.axis("off")
