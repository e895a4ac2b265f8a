"""Random states of all ranks, for a checkpoint."""

from typing import Any

import torch

from pointssl.engine.distributed import World


def random_states(world: World) -> list[dict[str, Any]]:
    """The global generators' states of every rank; every rank must call it."""
    mine: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if world.device.type == "cuda":
        mine["cuda"] = torch.cuda.get_rng_state(world.device)
    return world.gather(mine)


def restore_random_state(states: list[dict[str, Any]], world: World) -> None:
    """Give this rank its state back; ranks that the run did not have before stay as seeded."""
    if world.rank >= len(states):
        return
    torch.set_rng_state(states[world.rank]["cpu"])
    if world.device.type == "cuda" and "cuda" in states[world.rank]:
        torch.cuda.set_rng_state(states[world.rank]["cuda"], world.device)
