"""A leased run in, a judged bundle out: dataset, training, evaluation of the real pipeline, gate, promotion.

Imported only by the training subprocess: it loads torch.
"""

from recommender.training.stages import run
from recommender.training.watch import Watch

__all__ = ["Watch", "run"]
