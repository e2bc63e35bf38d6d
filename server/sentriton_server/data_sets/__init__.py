"""Public data sets for training, tests and benchmarks: which exist, where their files are, how they are fetched."""

from sentriton_server.data_sets.catalogue import CATALOGUE, PublicDataSet
from sentriton_server.data_sets.fetch import DataSetError, fetch
from sentriton_server.data_sets.folder import data_folder, find, require_data_sets

__all__ = ["CATALOGUE", "DataSetError", "PublicDataSet", "data_folder", "fetch", "find", "require_data_sets"]
