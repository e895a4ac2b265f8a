"""The published Point Transformer for scenes, one point after the other: slow and obvious.

Its weights are a state dict in the public key names; one cloud, evaluation mode, float64, farthest
points from index 0. Written after the description of POSTECH-CVLab/point-transformer.
"""

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def random_weights(
    channels: int, widths: list[int], depths: list[int], share: int, classes: int
) -> Weights:
    """A state dict with the published names and shapes."""
    generator = torch.Generator().manual_seed(0)
    weights: Weights = {}

    def linear(name: str, before: int, after: int, bias: bool = True) -> None:
        weights[f"{name}.weight"] = torch.randn(after, before, generator=generator) / before**0.5
        if bias:
            weights[f"{name}.bias"] = torch.randn(after, generator=generator)

    def norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean"):
            weights[f"{name}.{part}"] = torch.randn(width, generator=generator)
        weights[f"{name}.running_var"] = torch.rand(width, generator=generator) + 0.5
        weights[f"{name}.num_batches_tracked"] = torch.tensor(1)

    def block(name: str, width: int) -> None:
        few = width // share
        linear(f"{name}.linear1", width, width, bias=False)
        norm(f"{name}.bn1", width)
        for part in "qkv":
            linear(f"{name}.transformer2.linear_{part}", width, width)
        linear(f"{name}.transformer2.linear_p.0", 3, 3)
        norm(f"{name}.transformer2.linear_p.1", 3)
        linear(f"{name}.transformer2.linear_p.3", 3, width)
        norm(f"{name}.transformer2.linear_w.0", width)
        linear(f"{name}.transformer2.linear_w.2", width, few)
        norm(f"{name}.transformer2.linear_w.3", few)
        linear(f"{name}.transformer2.linear_w.5", few, few)
        norm(f"{name}.bn2", width)
        linear(f"{name}.linear3", width, width, bias=False)
        norm(f"{name}.bn3", width)

    before = channels
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), 1):
        linear(f"enc{stage}.0.linear", before + (3 if stage > 1 else 0), width, bias=False)
        norm(f"enc{stage}.0.bn", width)
        for layer in range(1, depth + 1):
            block(f"enc{stage}.{layer}", width)
        deepest = stage == len(widths)
        linear(f"dec{stage}.0.linear1.0", 2 * width if deepest else width, width)
        norm(f"dec{stage}.0.linear1.1", width)
        linear(f"dec{stage}.0.linear2.0", width if deepest else widths[stage], width)
        if not deepest:
            norm(f"dec{stage}.0.linear2.1", width)
        block(f"dec{stage}.1", width)
        before = width
    linear("cls.0", widths[0], widths[0])
    norm("cls.1", widths[0])
    linear("cls.3", widths[0], classes)
    return weights


class Twin:
    """``xyz (N, 3)`` and ``feats (N, C)`` to the mean over the deepest points and the decoder's
    features ``(N, widths[0])``."""

    def __init__(self, weights: Weights, neighbours: list[int], share: int) -> None:
        self.w = {name: value.double() for name, value in weights.items()}
        self.neighbours = neighbours
        self.share = share

    def __call__(self, xyz: Tensor, feats: Tensor) -> tuple[Tensor, Tensor]:
        places, x = xyz.double(), torch.cat((xyz, feats), dim=1).double()
        stages = []
        for stage, k in enumerate(self.neighbours, 1):
            places, x = self.down(f"enc{stage}.0", places, x, k, thin=stage > 1)
            layer = 1
            while f"enc{stage}.{layer}.linear1.weight" in self.w:
                x = self.block(f"enc{stage}.{layer}", places, x, k)
                layer += 1
            stages.append((places, x))
        cloud = sum(x) / len(x)
        for stage in range(len(stages), 0, -1):
            here, own = stages[stage - 1]
            name = f"dec{stage}.0"
            if stage == len(stages):
                shared = self.linear(f"{name}.linear2.0", cloud).relu()
                x = torch.stack(
                    [self.layer(f"{name}.linear1", torch.cat((row, shared))) for row in own]
                )
            else:
                deep = torch.stack([self.layer(f"{name}.linear2", row) for row in x])
                x = torch.stack(
                    [
                        self.layer(f"{name}.linear1", row) + blend(place, places, deep)
                        for place, row in zip(here, own, strict=True)
                    ]
                )
            places = here
            x = self.block(f"dec{stage}.1", places, x, self.neighbours[stage - 1])
        return cloud, x

    def linear(self, name: str, x: Tensor) -> Tensor:
        y = self.w[f"{name}.weight"] @ x
        return y + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else y

    def norm(self, name: str, x: Tensor) -> Tensor:
        mean, var = self.w[f"{name}.running_mean"], self.w[f"{name}.running_var"]
        return (x - mean) / (var + 1e-5).sqrt() * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def layer(self, name: str, x: Tensor) -> Tensor:
        return self.norm(f"{name}.1", self.linear(f"{name}.0", x)).relu()

    def down(
        self, name: str, places: Tensor, x: Tensor, k: int, thin: bool
    ) -> tuple[Tensor, Tensor]:
        if not thin:
            rows = [self.norm(f"{name}.bn", self.linear(f"{name}.linear", row)) for row in x]
            return places, torch.stack(rows).relu()
        chosen = [0]
        while len(chosen) < len(places) // 4:
            far = [min(float((p - places[c]).norm()) for c in chosen) for p in places]
            chosen.append(far.index(max(far)))
        best = []
        for i in chosen:
            edges = []
            for j in nearest(places[i], places, k):
                edge = torch.cat((places[j] - places[i], x[j]))
                edges.append(self.norm(f"{name}.bn", self.linear(f"{name}.linear", edge)).relu())
            best.append(torch.stack(edges).amax(0))
        return places[chosen], torch.stack(best)

    def block(self, name: str, places: Tensor, x: Tensor, k: int) -> Tensor:
        inner = [self.norm(f"{name}.bn1", self.linear(f"{name}.linear1", row)).relu() for row in x]
        out = []
        for i, row in enumerate(x):
            y = self.attention(f"{name}.transformer2", places, inner, i, k)
            y = self.norm(f"{name}.bn2", y).relu()
            y = self.norm(f"{name}.bn3", self.linear(f"{name}.linear3", y))
            out.append((y + row).relu())
        return torch.stack(out)

    def attention(self, name: str, places: Tensor, x: list[Tensor], i: int, k: int) -> Tensor:
        query, weights, values = self.linear(f"{name}.linear_q", x[i]), [], []
        for j in nearest(places[i], places, k):
            place = self.linear(f"{name}.linear_p.0", places[j] - places[i])
            place = self.norm(f"{name}.linear_p.1", place).relu()
            place = self.linear(f"{name}.linear_p.3", place)
            edge = self.linear(f"{name}.linear_k", x[j]) - query + place
            edge = self.linear(f"{name}.linear_w.2", self.norm(f"{name}.linear_w.0", edge).relu())
            edge = self.linear(f"{name}.linear_w.5", self.norm(f"{name}.linear_w.3", edge).relu())
            weights.append(edge)
            values.append(self.linear(f"{name}.linear_v", x[j]) + place)
        total = sum(weight.exp() for weight in weights)
        return sum(
            value * (weight.exp() / total).repeat(self.share)
            for value, weight in zip(values, weights, strict=True)
        )


def nearest(query: Tensor, places: Tensor, k: int) -> list[int]:
    return sorted(range(len(places)), key=lambda j: float((places[j] - query).norm()))[:k]


def blend(place: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Three nearest, by inverse distance."""
    near = nearest(place, places, 3)
    weights = [1 / (float((places[j] - place).norm()) + 1e-8) for j in near]
    return sum(w / sum(weights) * values[j] for w, j in zip(weights, near, strict=True))
