"""What a training run is made of, beside the model: checkpoints, recipes, logs, schedules."""

from lowp.train import checkpoint, logs, recipe, schedules
from lowp.train.checkpoint import Checkpoint, CheckpointFolder, Metadata, latest
from lowp.train.logs import EarlyStopping, open_logs
from lowp.train.recipe import Recipe

__all__ = [
    "Checkpoint",
    "CheckpointFolder",
    "EarlyStopping",
    "Metadata",
    "Recipe",
    "checkpoint",
    "latest",
    "logs",
    "open_logs",
    "recipe",
    "schedules",
]
