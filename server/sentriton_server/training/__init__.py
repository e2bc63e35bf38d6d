"""Train a sentence-transformers checkpoint from a recipe: `train(load_recipe("bundled"), output=…, data_dir=…)`."""

from sentriton_server.training.recipe import Recipe, load_recipe
from sentriton_server.training.report import StageReport, TrainingReport
from sentriton_server.training.train import train

__all__ = ["Recipe", "StageReport", "TrainingReport", "load_recipe", "train"]
