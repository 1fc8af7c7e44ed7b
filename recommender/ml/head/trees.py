"""Gradient-boosted trees by LightGBM, exported as ONNX so that serving does not need LightGBM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.exceptions import MissingDependency
from recommender.ml.export_check import check_onnx
from recommender.types import FloatArray

INPUT, OUTPUT = "rows", "score"
OPSET, ML_OPSET, IR_VERSION = 17, 3, 9


@dataclass(frozen=True, slots=True)
class TreeSettings:
    """How a forest is grown. l2: LightGBM's `lambda_l2`; row_share, column_share: what each tree sees.

    n_bins: LightGBM's `max_bin`, a quarter of its default, as its documentation advises for speed.
    """

    n_trees: int = 400
    learning_rate: float = 0.03
    n_leaves: int = 31
    least_in_leaf: int = 60
    l2: float = 5.0
    row_share: float = 0.7
    column_share: float = 0.5
    n_bins: int = 63
    n_threads: int = 1
    seed: int = 0


def grow(
    rows: FloatArray,
    target: FloatArray,
    *,
    objective: str = "regression",
    group: npt.NDArray[np.integer] | None = None,
    settings: TreeSettings | None = None,
    rising: Sequence[int] = (),
) -> Any:
    """Fit a LightGBM booster (Ke et al. 2017) on rows (n, f) and target (n,).

    group: rows per list, in order, for the ranking objectives. rising: columns in which the score may not fall. Raises
    MissingDependency without LightGBM.
    """
    lightgbm = _lightgbm()
    settings = settings or TreeSettings()
    parameters = {
        "objective": objective,
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.n_leaves,
        "min_data_in_leaf": settings.least_in_leaf,
        "lambda_l2": settings.l2,
        "bagging_fraction": settings.row_share,
        "bagging_freq": 1,
        "feature_fraction": settings.column_share,
        "max_bin": settings.n_bins,
        "num_threads": settings.n_threads,
        "seed": settings.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
    if len(rising):
        parameters["monotone_constraints"] = [int(column in rising) for column in range(rows.shape[1])]
    data = lightgbm.Dataset(np.ascontiguousarray(rows), np.ascontiguousarray(target), group=group, free_raw_data=True)
    return lightgbm.train(parameters, data, settings.n_trees)


def export(boosters: Sequence[Any], path: Path, *, n_features: int, sample: FloatArray) -> None:
    """Write the mean of the raw scores of one or more boosters as ONNX and compare on `sample` (n, f).

    Raises RunError where the file does not compute what LightGBM computes.
    """
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node(
        "TreeEnsembleRegressor", [INPUT], [OUTPUT], domain="ai.onnx.ml", n_targets=1, post_transform="NONE",
        aggregate_function="SUM", **_nodes(boosters),
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "forest",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", n_features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", 1])],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="shopreco")
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    check_onnx(path, lambda batch: predict(boosters, batch[INPUT]), [{INPUT: np.asarray(sample, np.float32)}])


def predict(boosters: Sequence[Any], rows: FloatArray) -> FloatArray:
    """Return (n,) float32: the mean of the raw scores."""
    return np.mean([booster.predict(rows, raw_score=True) for booster in boosters], axis=0).astype(np.float32)


def importance(boosters: Sequence[Any], names: Sequence[str]) -> dict[str, float]:
    """Return the share of the gain that each feature brought, largest first."""
    gain = np.sum([booster.feature_importance("gain") for booster in boosters], axis=0)
    share = gain / max(float(gain.sum()), 1e-9)
    return {names[column]: round(float(share[column]), 4) for column in np.argsort(-share)}


def _nodes(boosters: Sequence[Any]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    tree_id = 0
    for booster in boosters:
        for tree in booster.dump_model()["tree_info"]:
            _add_tree(columns, tree["tree_structure"], tree_id, share=1 / len(boosters))
            tree_id += 1
    return columns


_COLUMNS = (
    "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_modes", "nodes_values", "nodes_truenodeids",
    "nodes_falsenodeids", "nodes_missing_value_tracks_true", "target_treeids", "target_nodeids", "target_ids",
    "target_weights",
)  # fmt: skip


def _add_tree(columns: dict[str, list[Any]], root: dict[str, Any], tree_id: int, *, share: float) -> None:
    """Number the nodes of one tree breadth first and add them to the columns of the operator, leaves times `share`."""
    queue = [root]
    for node_id, node in enumerate(queue):  # the list grows while it is read
        is_leaf = "leaf_value" in node
        left = 0 if is_leaf else len(queue)
        if not is_leaf:
            queue += [node["left_child"], node["right_child"]]
        values = {
            "nodes_treeids": tree_id,
            "nodes_nodeids": node_id,
            "nodes_featureids": 0 if is_leaf else node["split_feature"],
            "nodes_modes": "LEAF" if is_leaf else "BRANCH_LEQ",
            "nodes_values": 0.0 if is_leaf else _floor32(node["threshold"]),
            "nodes_truenodeids": left,
            "nodes_falsenodeids": 0 if is_leaf else left + 1,
            "nodes_missing_value_tracks_true": int(not is_leaf and node["default_left"]),
        }
        for name, value in values.items():
            columns[name].append(value)
        if is_leaf:
            leaf = {"target_treeids": tree_id, "target_nodeids": node_id, "target_ids": 0}
            for name, value in (leaf | {"target_weights": share * node["leaf_value"]}).items():
                columns[name].append(value)


def _floor32(threshold: float) -> float:
    """Return the largest float32 that is not above a float64 threshold: `x <= t` then means the same for float32 x."""
    near = np.float32(threshold)
    return float(np.nextafter(near, np.float32(-np.inf)) if float(near) > threshold else near)


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise MissingDependency('lightgbm is not installed: pip install "shopreco[ml]".') from error
    return lightgbm
