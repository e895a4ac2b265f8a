"""Self-supervised objectives: ``forward(batch) -> {"loss": ..., and other scalars}``.

A method is an ``nn.Module`` that owns its ``encoder`` and its heads. To add one, write a module
in one file and name it here, or pass ``--method my_package.mine:Method``.
"""

METHODS: dict[str, str] = {"crosspoint": "pointssl.methods.crosspoint:CrossPoint"}
