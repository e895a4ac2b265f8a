"""Scores of a probe during pretraining, on the ranks of a process group."""

import torch

from pointssl.config.pretrain import PretrainConfig
from pointssl.recipes.pretrain import make_method
from pointssl.recipes.pretrain_probe import open_probe


def scores(world, options):
    """Scores of an encoder whose running statistics differ from rank to rank, and those after."""
    config = PretrainConfig(**options)
    encoder = make_method(config, None).encoder.to(world.device).train()
    with torch.no_grad():
        for buffer in encoder.buffers():
            if buffer.is_floating_point():
                buffer.add_(0.3 * torch.rand(buffer.shape) if world.is_main else 5.0)
    before = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    found = open_probe(config, world).scores(encoder)
    same = all(torch.equal(before[name], buffer) for name, buffer in encoder.named_buffers())
    return {"scores": found, "buffers_same": same, "training": encoder.training}
