"""The same algorithms in NumPy with SciPy's FFT on two workers: what a user would write without JAX."""
