"""The common style of all figures, and writing them to disk atomically.

Matplotlib is imported only when a figure is drawn, and used through its object interface: it needs
no display and no global state, and importing pointssl stays fast.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.writing import whole_file

DPI = 150
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.35",
    "axes.linewidth": 0.8,
    "axes.grid": False,
    "grid.color": "0.90",
    "grid.linewidth": 0.8,
    "xtick.color": "0.35",
    "ytick.color": "0.35",
    "xtick.labelcolor": "0.15",
    "ytick.labelcolor": "0.15",
    "legend.frameon": False,
}
# Okabe and Ito's palette (2008), distinct with every common kind of colour blindness.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9",
)  # fmt: skip


@contextmanager
def house_style() -> Iterator[None]:
    """Apply the house style within a ``with`` block, and restore the user's settings after it.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise UserError(
            "figures need matplotlib, which is not installed: pip install matplotlib"
        ) from None
    with matplotlib.rc_context(STYLE):
        yield


def axes_grid(width: float, height: float, rows: int, columns: int) -> tuple[Any, NDArray[Any]]:
    """Create a figure of this size in inches, and its ``(rows, columns)`` axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    return figure, np.asarray(figure.subplots(rows, columns, squeeze=False))


def save_figure(figure: Any, path: Path | str) -> None:
    """Write ``figure`` as PNG to ``path`` atomically, creating its folder if necessary.

    Raises:
        UserError: ``path`` can't be written.
    """
    with whole_file(Path(path)) as part:
        figure.savefig(
            part, format="png", dpi=DPI, facecolor="white", bbox_inches="tight", pad_inches=0.1
        )
