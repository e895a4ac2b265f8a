"""Point encoders: ``forward(xyz (B, N, 3), feats=None) -> Features(cloud, points)``.

To add one, write an ``nn.Module`` in its own file and register it here, or pass
``--backbone my_package.mine:Net``.
"""

BACKBONES: dict[str, str] = {
    "dgcnn": "pointssl.backbones.dgcnn:DGCNN",
    "dgcnn_seg": "pointssl.backbones.dgcnn_seg:DGCNNSeg",
    "point_transformer": "pointssl.backbones.point_transformer:PointTransformer",
    "point_transformer_packed": (
        "pointssl.backbones.point_transformer_packed:PackedPointTransformer"
    ),
    "mamba": "pointssl.backbones.mamba:PointMamba",
    "patch_transformer": "pointssl.backbones.patch_transformer:PatchTransformer",
    "pct": "pointssl.backbones.pct:PCT",
    "pointnet": "pointssl.backbones.pointnet:PointNet",
    "pointnet2": "pointssl.backbones.pointnet2:PointNet2",
    "pointnet2_msg": "pointssl.backbones.pointnet2:PointNet2MSG",
}
