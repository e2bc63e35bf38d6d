"""The server: export, launch, supervision and training, which need torch."""
