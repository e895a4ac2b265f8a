"""For each backbone arguments that make it small, and how small a cloud it can take.

``k`` is 6 where a backbone has neighbours, so that the tests know how few points are too few.
"""

K = 6
SMALL: dict[str, dict] = {
    "dgcnn": {"k": K, "embedding": 32},
    "dgcnn_seg": {"k": K, "embedding": 32},
}
VARIANTS: dict[str, tuple[str, dict]] = {}
"""More names for the contract: name of the test -> backbone, further arguments."""


def small(name: str, **changes) -> tuple[str, dict]:
    """Backbone and arguments for a name of :data:`SMALL` or :data:`VARIANTS`."""
    backbone, more = VARIANTS.get(name, (name, {}))
    return backbone, {**SMALL[backbone], **more, **changes}
