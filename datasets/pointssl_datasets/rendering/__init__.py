"""Pictures of clouds and meshes, without a graphics card."""
