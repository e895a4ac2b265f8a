"""The encoder under evaluation, and everything that its features depend on."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from pointssl.backbones.build import build_encoder, given_arguments, with_defaults
from pointssl.checkpoints.encoder import build_fitting
from pointssl.checkpoints.metadata import encoder_metadata
from pointssl.checkpoints.zoo.opening import describe_import, open_checkpoint
from pointssl.config.groups import FeatureOptions, WeightsOptions
from pointssl.features.cache import weights_hash
from pointssl.features.pooling import BACKBONES_OWN, named_feature
from pointssl_datasets.base.errors import UsageError


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder under evaluation.

    Attributes:
        name: for tables, e.g. ``"pretrained"`` or ``"random init"``.
        encoder: in evaluation mode.
        facts: what its features depend on: backbone, arguments, hash of the weights, and which
            feature is taken.
        serve: how clouds must be served: ``points``, ``normals``, ``normalise``.
        trained_on: the data that it was trained on, or None for a random initialisation.
        notes: lines for the user.
    """

    name: str
    encoder: nn.Module
    facts: dict[str, Any]
    serve: dict[str, Any]
    trained_on: dict[str, Any] | None
    notes: tuple[str, ...] = ()

    @property
    def arguments(self) -> dict[str, Any]:
        return self.facts["backbone_args"]


def encoder_from_options(options: FeatureOptions) -> LoadedEncoder:
    """The encoder of ``--weights``, or a random initialisation of ``--backbone``.

    Raises:
        UserError: as :func:`encoder_from_checkpoint`.
    """
    if options.weights is None:
        return random_encoder(options, options.init_seed)
    return encoder_from_checkpoint(options, options.weights)


def encoder_from_checkpoint(options: WeightsOptions, path: Path) -> LoadedEncoder:
    """The encoder of the checkpoint ``path``.

    k, points, normals and normalisation are those of the checkpoint unless they are given. A given
    value that differs is noted, because a silent mismatch costs tens of points of accuracy.

    Raises:
        UserError: an unreadable or foreign checkpoint, or one of another backbone than requested.
    """
    checkpoint = open_checkpoint(path)
    metadata = encoder_metadata(checkpoint, path, *SERVED, "trained_on", named=options.backbone)
    if options.backbone is not None and options.backbone != metadata["backbone"]:
        raise UsageError(
            f"--backbone {options.backbone}: {path} holds a {metadata['backbone']}; "
            "leave --backbone out"
        )
    arguments, changed = merged(metadata["backbone_args"], given_arguments(options))
    served: dict[str, Any] = {
        "points": metadata["points"],
        "normals": metadata["normals"],
        "normalise": metadata["normalise"],
    }
    serve, changed_serving = merged(served, _given_serving(options))
    make = partial(build_encoder, metadata["backbone"], seed=0, **arguments)
    encoder = build_fitting(make, metadata["backbone"], checkpoint["encoder"], path)
    notes = tuple(
        f"pretrained with {name} = {before}, evaluated with {after}"
        for name, (before, after) in {**changed, **changed_serving}.items()
    )
    notes += tuple(describe_import(metadata))
    up_axis = metadata.get("up_axis", "y")
    if up_axis != "y":
        notes += (f"trained with {up_axis} up, and clouds are served with y up: expect less of it",)
    with_labels = "task" in metadata or bool(metadata.get("imported", {}).get("labels"))
    if "task" in metadata:
        dataset = metadata["trained_on"].get("dataset")
        notes += (f"the encoder was fine-tuned with labels, for {metadata['task']} on {dataset}",)
    facts = _facts(metadata["backbone"], arguments, encoder, options)
    return LoadedEncoder(
        "fine-tuned" if with_labels else "pretrained",
        encoder.eval(),
        facts,
        serve,
        metadata["trained_on"],
        notes + _feature_note(facts),
    )


def random_encoder(options: WeightsOptions, seed: int) -> LoadedEncoder:
    """``--backbone`` at random initialisation."""
    name = options.backbone or "dgcnn"
    arguments = given_arguments(options)
    if options.normals:
        arguments.setdefault("in_channels", 6)
    arguments = with_defaults(name, arguments)
    serve = {
        "points": 1024,
        "normals": False,
        "normalise": "unit-sphere",
        **_given_serving(options),
    }
    encoder = build_encoder(name, seed=seed, **arguments)
    facts = _facts(name, arguments, encoder, options)
    return LoadedEncoder("random init", encoder.eval(), facts, serve, None, _feature_note(facts))


def baseline_of(loaded: LoadedEncoder, options: FeatureOptions) -> LoadedEncoder:
    """``loaded`` at random initialisation: the baseline row of every table."""
    name = loaded.facts["backbone"]
    encoder = build_encoder(name, seed=options.init_seed, **loaded.arguments)
    facts = _facts(name, loaded.arguments, encoder, options)
    return LoadedEncoder(
        "random init", encoder.eval(), facts, loaded.serve, None, _feature_note(facts)
    )


SERVED = ("points", "normals", "normalise")


def _given_serving(options: WeightsOptions) -> dict[str, Any]:
    values = {name: getattr(options, name) for name in SERVED}
    return {name: value for name, value in values.items() if value is not None}


def merged(
    stored: dict[str, Any], given: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """``stored`` overridden by ``given``, and the changes: name -> (before, after)."""
    changed = {
        name: (stored.get(name), value)
        for name, value in given.items()
        if stored.get(name) != value
    }
    return {**stored, **given}, changed


def _facts(
    name: str, arguments: dict[str, Any], encoder: nn.Module, options: WeightsOptions
) -> dict[str, Any]:
    """What features depend on. Options of fine-tuning have no ``pool`` and no ``layer``."""
    chosen = getattr(options, "pool", None), getattr(options, "layer", None)
    return {
        "backbone": name,
        "backbone_args": arguments,
        "weights": weights_hash(encoder.state_dict()),
        "feature": named_feature(encoder, *chosen),
    }


def _feature_note(facts: dict[str, Any]) -> tuple[str, ...]:
    """A note for results whose feature is not the backbone's own."""
    feature = facts["feature"]
    return () if feature == BACKBONES_OWN else (f"the feature of a cloud is the {feature}",)


def where(path: Path | None) -> str:
    """Which weights, for a line of output."""
    return str(path) if path else "random initialisation"
