"""`pointssl import`: another project's checkpoint as one of ours."""

from pathlib import Path

from pointssl.backbones.build import build_encoder
from pointssl.checkpoints.encoder import build_fitting
from pointssl.checkpoints.metadata import encoder_metadata
from pointssl.checkpoints.zoo.opening import describe_import, open_checkpoint, save_encoder
from pointssl.config.arguments import parse_arguments
from pointssl.config.tools import ImportConfig
from pointssl_datasets.base.errors import UserError


def run(config: ImportConfig) -> Path:
    """Write ``config.out``; it is built once before, so that what is written loads.

    Raises:
        UserError: of no known network, without a part of its encoder, or not writable.
    """
    checkpoint = open_checkpoint(config.path)
    metadata = encoder_metadata(checkpoint, config.path)
    metadata["backbone_args"] = {
        **metadata["backbone_args"],
        **parse_arguments(config.backbone_arg, "--backbone-arg"),
    }
    for name in ("points", "normalise", "up_axis"):
        if getattr(config, name) is not None:
            metadata[name] = getattr(config, name)
    for line in describe_import(metadata):
        print(line)
    encoder = build_fitting(
        lambda: build_encoder(metadata["backbone"], **metadata["backbone_args"]),
        metadata["backbone"],
        checkpoint["encoder"],
        config.path,
    )
    broken = [key for key, value in encoder.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise UserError(
            f"{config.path}: {len(broken)} tensors hold NaN or infinity ({', '.join(broken[:3])}): "
            "its training went wrong, or the file is damaged"
        )
    save_encoder(config.out, {"encoder": encoder.state_dict(), "facts": metadata})
    millions = sum(parameter.numel() for parameter in encoder.parameters()) / 1e6
    print(f"{config.out}: {metadata['backbone']}, {millions:.2f} M parameters")
    return config.out
