"""How height_weights.py was made: a conditional logit per class on clouds whose up axis is known.

Run as a program it prints the table.
"""

import h5py
import numpy as np
from scipy.optimize import minimize
from shared import SHARED

from pointssl_datasets.checking.heights import AXES, profiles
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.sampling import centre_and_scale, deform, sample_surface
from pointssl_datasets.sets.shapes import CATEGORIES

PENALTY = 3.0  # of the squared weights
FROM_MODELNET = (
    "bathtub", "bed", "chair", "desk", "monitor", "night_stand", "sofa", "table", "toilet",
)  # fmt: skip
FROM_SHAPES = (
    "airplane", "cap", "car", "chair", "laptop", "motorbike", "mug", "pistol", "skateboard",
    "table",
)  # fmt: skip


def fit(described, up):
    """Weights (F,) under which softmax(described @ weights) names ``up``; described (M, 6, F)."""
    right = AXES.index(up)

    def loss(weights):
        scores = described @ weights
        scores = scores - scores.max(axis=1, keepdims=True)
        share = np.exp(scores)
        share /= share.sum(axis=1, keepdims=True)
        value = -np.log(share[:, right]).sum() + PENALTY * weights @ weights / 2
        mean = np.einsum("md,mdf->f", share, described)
        return value, mean - described[:, right].sum(axis=0) + PENALTY * weights

    return minimize(loss, np.zeros(described.shape[-1]), jac=True, method="L-BFGS-B").x


def modelnet10(split):
    """Class -> (M, 6, F), as stored: z-up."""
    folder = SHARED / "data/modelnet10_hdf5_1024"
    names = (folder / "shape_names.txt").read_text().split()
    rows = {name: [] for name in names}
    for path in sorted(folder.glob(f"ply_data_{split}*.h5")):
        with h5py.File(path) as file:
            for xyz, label in zip(file["data"][:], file["label"][:].ravel(), strict=True):
                rows[names[label]].append(profiles(xyz))
    return {name: np.array(each) for name, each in rows.items()}


def upright_shapes(name, count=80):
    """(count, 6, F) of the procedural ``name``, y-up and without its random pose."""
    rows = []
    for index in range(count):
        generator = np.random.default_rng([7, index])
        rng = Random(generator)
        xyz, normals, _ = sample_surface(CATEGORIES[name].build(rng), 1024, generator)
        xyz, _ = deform(centre_and_scale(xyz), normals, rng)
        rows.append(profiles(xyz))
    return np.array(rows)


def y_for_z(described):
    """As if the clouds had been turned z-up; a turn about the axis changes nothing else here."""
    return described[:, [0, 1, 4, 5, 2, 3]]


def table(train):
    """Class -> weights, from ``modelnet10("train")`` and the procedural shapes."""
    found = {}
    for name in sorted({*FROM_MODELNET, *FROM_SHAPES}):
        parts = [train[name]] if name in FROM_MODELNET else []
        parts += [y_for_z(upright_shapes(name))] if name in FROM_SHAPES else []
        found[name] = fit(np.concatenate(parts), "z")
    return found


if __name__ == "__main__":
    for name, weights in table(modelnet10("train")).items():
        values = [f"{w:.1f}" for w in weights]
        print(f'    "{name}": (')
        print(f"        {', '.join(values[:6])},")
        print(f"        {', '.join(values[6:11])}, {', '.join(values[11:])},\n    ),")
