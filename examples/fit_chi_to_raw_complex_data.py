# %% [markdown]
# # Fit χ to raw complex data in 40 lines
#
# A gradient-echo scanner measures complex numbers. Everything between them and χ — wraps, the phase offset of the
# receiver, air in the sinuses — is physics that a differentiable model can contain.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import jaxqsm
from jaxqsm.phantoms import head
from jaxqsm.simulation import Protocol

protocol = Protocol(voxel_size=(3.0, 3.0, 3.0), field_strength=7.0, snr=50.0)
phantom = head(protocol.phantom_voxel_size, field_strength=7.0)
scan = protocol.scan(phantom, key=jax.random.key(0))
geometry, acquisition = protocol.geometry, protocol.acquisition

wrapped = np.angle(scan.signal[..., -1])
middle = scan.mask.shape[2] // 2
plt.imshow(np.rot90(wrapped[:, :, middle] * scan.mask[:, :, middle]), cmap="twilight")
plt.title("phase of the last echo, 7 T: wraps and background")
plt.axis("off")
# %% [markdown]
# `signal_fit` finds χ, the background, the phase offset and R2* from the complex signal at once. No region growing: so
# it runs, and can be differentiated and batched, on any device.

# %%
fit = jaxqsm.multi_stage.signal_fit(scan.signal, scan.mask, geometry, acquisition)


def error(chi, mask):
    a, b = np.asarray(chi)[mask], np.asarray(scan.chi)[mask]
    a, b = a - a.mean(), b - b.mean()
    return 100 * np.linalg.norm(a - b) / np.linalg.norm(b)


stages = jaxqsm.pipeline.reconstruct(scan.signal, scan.mask, geometry, acquisition)
both = np.asarray(fit.mask & stages.mask)
print(f"error of chi: fit {error(fit.chi, both):.0f} %, stage by stage {error(stages.chi, both):.0f} %")
fig, axes = plt.subplots(1, 3, figsize=(12, 4))
for axis, (title, chi) in zip(
    axes, {"truth": scan.chi * both, "signal_fit": fit.chi, "stages": stages.chi}.items()
):
    axis.imshow(np.rot90(np.asarray(chi)[:, :, middle]), cmap="gray", vmin=-0.1, vmax=0.15)
    axis.set_title(title)
    axis.axis("off")

# %% [markdown]
# It is one differentiable function. Which voxels tell the χ of one place? The gradient of its χ with respect to the
# measured phase, through all of the fit, shows the dipole that the physics looks for.

# %%
x, y, z = np.argwhere(np.asarray(fit.mask)).mean(0).astype(int) + [5, 0, 0]
place = jnp.zeros(scan.mask.shape).at[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2].set(1 / 27)


@jax.jit
@jax.grad
def sensitivity(phase):
    signal = jnp.abs(scan.signal) * jnp.exp(1j * phase)
    found = jaxqsm.multi_stage.signal_fit(
        signal, scan.mask, geometry, acquisition, outer_iterations=2, max_iterations=60
    )
    return jnp.sum(place * found.chi)


slope = np.asarray(sensitivity(jnp.angle(scan.signal)))[..., -1]
limit = np.quantile(np.abs(slope[:, y]), 0.998)
plt.imshow(np.rot90(slope[:, y]), cmap="RdBu", vmin=-limit, vmax=limit)
plt.title("coronal: how chi in the middle goes with the phase of each voxel")
plt.axis("off")
