"""Sentriton as the embedding function of other packages, one module for each."""
