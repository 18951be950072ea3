"""SAHI: the postprocess classes of `sahi.postprocess.combine`, on `ObjectPrediction`s with masks in
full-image coordinates.

Settings: `rule` (a class of that module), `match_metric`, `match_threshold`.
"""

from __future__ import annotations

from typing import Any

import shapely
from exchange import Outputs, TileMasks, answer
from sahi.postprocess import combine
from sahi.prediction import ObjectPrediction


def prepare(masks: TileMasks, settings: dict[str, Any]) -> tuple[Any, list[ObjectPrediction]]:
    """The postprocessor and the predictions of all slices, as sliced prediction collects them."""
    rule = getattr(combine, settings["rule"])
    chosen = rule(
        match_metric=settings["match_metric"],
        match_threshold=settings["match_threshold"],
        class_agnostic=True,
    )
    predictions = [
        ObjectPrediction(
            segmentation=coco_rings(shapely.from_wkb(wkb)),
            category_id=0,
            score=float(score),
            shift_amount=[0, 0],
            full_shape=list(masks.shape),
        )
        for wkb, score in zip(masks.wkb, masks.score, strict=True)
    ]
    return chosen, predictions


def coco_rings(geometry: Any) -> list[list[float]]:
    """COCO's form: one flat list x, y, x, y, ... per part, without the closing point."""
    return [
        shapely.get_coordinates(part.exterior)[:-1].ravel().tolist() for part in shapely.get_parts(geometry)
    ]


def merge(native: tuple[Any, list[ObjectPrediction]]) -> list[ObjectPrediction]:
    rule, predictions = native
    merged: list[ObjectPrediction] = rule(predictions)
    return merged


def export(merged: list[ObjectPrediction]) -> Outputs:
    """The union of each prediction's rings."""
    wkb = []
    for prediction in merged:
        assert prediction.mask is not None, "predictions with masks stay predictions with masks"
        rings = [
            shapely.Polygon([*zip(ring[::2], ring[1::2], strict=True)])
            for ring in prediction.mask.segmentation
        ]
        wkb.append(shapely.to_wkb(shapely.union_all(shapely.make_valid(rings))))
    return Outputs(wkb=tuple(wkb))


if __name__ == "__main__":
    answer(prepare, merge, export, ["sahi", "numpy", "shapely"])
