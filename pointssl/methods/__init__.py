"""Self-supervised objectives: ``forward(batch) -> {"loss": ..., and other scalars}``.

A method is a :class:`pointssl.methods.base.Method` that owns its ``encoder`` and its heads. To add
one, write it in one file and name it here, or pass ``--method my_package.mine:Method``.
"""

METHODS: dict[str, str] = {
    "crosspoint": "pointssl.methods.crosspoint:CrossPoint",
    "vicreg": "pointssl.methods.vicreg:VICReg",
    "barlow": "pointssl.methods.barlow:BarlowTwins",
    "simsiam": "pointssl.methods.simsiam:SimSiam",
}
