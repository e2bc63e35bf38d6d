"""Sentriton as the embedding function of other packages: one module each, which imports that package."""
