"""Builds what is published into dist/ (two wheels, a Node package) and checks it: `make release`."""
