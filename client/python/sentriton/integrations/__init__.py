"""Sentriton as embedding function of other packages, one module for each."""
