"""Public data sets for training, tests and benchmarks: the catalogue, the data folder and the download."""

from sentriton_server.data_sets.catalogue import CATALOGUE, PublicDataSet
from sentriton_server.data_sets.fetch import DataSetError, fetch
from sentriton_server.data_sets.folder import data_folder, find, require_data_sets

__all__ = ["CATALOGUE", "DataSetError", "PublicDataSet", "data_folder", "fetch", "find", "require_data_sets"]
