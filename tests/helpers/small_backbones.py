"""For each backbone arguments that make it small, and how small a cloud it can take.

``k`` is 6 where a backbone has neighbours, so that the tests know how few points are too few.
"""

K = 6
# Left-out branches are random: without them two forward passes in training give the same.
PATCHES = {"groups": 8, "group_size": 6, "depth": 2, "taps": (1, 2), "drop_path": 0.0}
SMALL: dict[str, dict] = {
    "dgcnn": {"k": K, "embedding": 32},
    "dgcnn_seg": {"k": K, "embedding": 32},
    "point_transformer": {"k": K, "embedding": 16, "blocks": 2},
    "point_transformer_packed": {
        "k": K,
        "first_k": 4,
        "widths": (16, 24, 32),
        "depths": (1, 1, 2),
        "strides": (1, 4, 4),
    },
    "mamba": {**PATCHES, "embedding": 16, "state": 4},
    "patch_transformer": {**PATCHES, "embedding": 16, "heads": 2},
    "pct": {
        "k": K,
        "embedding": 32,
        "channels": (8, 8),
        "local_channels": (16, 16),
        "centres": (24, 12),
        "attentions": 2,
    },
    "pointnet": {
        "embedding": 32,
        "channels": (8, 16),
        "tnet_channels": (8, 16),
        "tnet_hidden": (8,),
    },
    "pointnet2": {
        "embedding": 32,
        "hidden": (16,),
        "centres": (16, 8),
        "radii": ((0.8,), (1.6,)),
        "neighbours": ((5,), (4,)),
        "channels": (((8, 8, 16),), ((16, 8),)),
        "decoder_channels": ((16,), (16, 8), (8,)),
    },
    "pointnet2_msg": {
        "embedding": 32,
        "hidden": (16,),
        "centres": (16, 8),
        "radii": ((0.4, 0.8), (1.6, 3.2)),
        "neighbours": ((4, 8), (4, 16)),
        "channels": (((8, 16), (8, 8)), ((8, 16), (16,))),
    },
}
VARIANTS: dict[str, tuple[str, dict]] = {
    "point_transformer with a decoder": ("point_transformer", {"decoder": True}),
    "point_transformer_packed with a decoder": ("point_transformer_packed", {"decoder": True}),
    "mamba along a Hilbert curve": (
        "mamba",
        {"order": "hilbert", "cell": 0.1, "group_channels": 8},
    ),
    "patch_transformer with a class token": (
        "patch_transformer",
        {"class_token": True, "group_channels": 8, "residual_scale": 2.0},
    ),
    "patch_transformer as in ReCon": ("patch_transformer", {"normed_residual": True}),
    "pointnet for parts": ("pointnet", {"channels": (8, 16, 16, 24), "transform_after": 3}),
    "pointnet unaligned": ("pointnet", {"align": False, "feature_transform": False}),
    "pointnet2 for parts": ("pointnet2", {"decoder": True, "absolute": True}),
    "pointnet2 for scenes": (
        "pointnet2",
        {
            "decoder": True,
            "absolute": True,
            "group_all": False,
            "skip_input": False,
            "decoder_channels": ((16,), (16, 8)),
        },
    ),
}
"""More names for the contract: name of the test -> backbone, further arguments."""


def small(name: str, **changes) -> tuple[str, dict]:
    """Backbone and arguments for a name of :data:`SMALL` or :data:`VARIANTS`."""
    backbone, more = VARIANTS.get(name, (name, {}))
    return backbone, {**SMALL[backbone], **more, **changes}
