"""Training: reads the data, trains, evaluates the real pipeline, decides and promotes; a leased run's whole work.

Only the training subprocess imports it, because it loads torch.
"""

from recommender.training.stages import run
from recommender.training.watch import Watch

__all__ = ["Watch", "run"]
