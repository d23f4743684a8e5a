# %% [markdown]
# # Learn a regularisation weight by hyper-gradients
#
# Total variation has one number that everybody tunes by hand. The solver is differentiable with respect to it, implicitly:
# the gradient of any loss costs about one more solve, and no memory for iterations.

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

from jaxqsm.inversion import tv
from jaxqsm.tuning import choose_weight
from jaxqsm.variational import referenced

mask = scan.mask
magnitude = jnp.linalg.norm(jnp.abs(scan.signal), axis=-1) * mask
field = (scan.local_field + 0.003 * jax.random.normal(jax.random.key(1), mask.shape)) * mask
truth = referenced(scan.chi * mask, mask)


@jax.jit
@jax.value_and_grad
def loss(log_weight):
    chi = tv(field, mask, geometry, magnitude=magnitude, weight=jnp.exp(log_weight), tolerance=1e-3)
    return jnp.linalg.norm(chi - truth) / jnp.linalg.norm(truth)


# %% [markdown]
# With a truth (a simulation, a COSMOS scan), descend. A derivative that finite differences confirm:

# %%
at, step = jnp.log(1e-3), 0.05
_, slope = loss(at)
numeric = (loss(at + step)[0] - loss(at - step)[0]) / (2 * step)
print(f"implicit {float(slope):.4f}, finite differences {float(numeric):.4f}")

import optax

optimiser = optax.adam(0.3)
log_weight, memory, path = at, optimiser.init(at), []
for _ in range(12):
    value, slope = loss(log_weight)
    path.append((float(jnp.exp(log_weight)), 100 * float(value)))
    change, memory = optimiser.update(slope, memory)
    log_weight = log_weight + change
weights = np.geomspace(3e-5, 2e-3, 8)
plt.semilogx(weights, [100 * float(loss(jnp.log(w))[0]) for w in weights], "k.-", label="grid")
plt.semilogx(*zip(*path), "o-", label="hyper-gradients")
plt.xlabel("weight (ppm mm)")
plt.ylabel("error of chi (%)")

# %% [markdown]
# Without a truth, held-out regions of the field take its place: `choose_weight`, which finds every weight that is not given.

# %%
automatic = float(choose_weight(tv, field, mask, geometry, magnitude=magnitude))
value = 100 * float(loss(jnp.log(automatic))[0])
plt.semilogx([automatic], [value], "r*", markersize=14, label="without truth")
plt.semilogx(weights, [100 * float(loss(jnp.log(w))[0]) for w in weights], "k.-", label="grid")
plt.xlabel("weight (ppm mm)")
plt.ylabel("error of chi (%)")
plt.legend()
print(f"hyper-gradients {path[-1][0]:.1e}: {path[-1][1]:.1f} %, without truth {automatic:.1e}: {value:.1f} %")
