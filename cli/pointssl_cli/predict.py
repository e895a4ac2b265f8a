"""`pointssl predict`."""

from pointssl.config.predict import PredictConfig
from pointssl_cli.options import command_options


@command_options(PredictConfig)
def predict(config: PredictConfig) -> None:
    """Classes, parts or embeddings of your own clouds and meshes, with a page to look at them."""
    from pointssl.recipes import predict as recipe

    recipe.run(config)
