"""Experiments: what is tried on a share of the shoppers, who is in which arm, and what came of it.

The statistics (`sequences`, `balance`, `covariates`, `interleaving`, `exploring`, `off_policy`) are arithmetic on
arrays and know no SQL.
"""
