"""The renderer's hot loops: compiled where numba is there, otherwise in numpy."""

try:
    from pointssl_datasets.rendering.kernels import moments, rasterise, smoothed, splat
except ImportError:  # numba is missing, or does not know this NumPy yet
    from pointssl_datasets.rendering.numpy_loops import moments, rasterise, smoothed, splat

__all__ = ["moments", "rasterise", "smoothed", "splat"]
