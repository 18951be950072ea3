"""Outlines with right angles, for buildings: the fewest corners that still fit the object.

1. Two directions are tried: that of the smallest rectangle around the object, and that of its longer edges
   (the mean of their angles, where a quarter turn counts as none, weighted by length).
2. The outline is simplified, with one tolerance after the other. Its edges become level or upright, whichever
   is closer. Neighbours of one kind become one edge, at the mean of their places weighted by their lengths.
3. Where level and upright edges meet are the corners. Of all such outlines that overlap the object well
   enough, the one with the fewest corners is taken, and of these the one that overlaps it best.
4. An object that an ellipse fits clearly better has no walls, and stays as it is: a circle and its best
   square overlap by more than 0.8.

Parts and holes are made right-angled one by one. If one of them cannot be, the object stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray

_TOLERANCES = (0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0, 20.0)
"""Tolerances of the simplification, in pixels; those that would take the whole object are left out."""

ROUNDER = 0.05
"""How much better an ellipse must overlap an object than right angles do for it to count as round."""

_LARGEST_SHARE = 0.35
"""Largest tolerance, as a share of the square root of the object's area."""


def right_angled(
    shape: shapely.Geometry, plane: NDArray[np.float64], *, least_iou: float
) -> shapely.Geometry | None:
    """Make the outline of one object right-angled. None: nothing with right angles overlaps it enough.

    shape: (multi)polygon in pixel-edge coordinates. plane: (2, 2), takes pixels (column, row) to a plane in
    which angles are those of the ground, in units of about a pixel. least_iou: intersection over union that
    the new outline must have with the old one.
    """
    flat = _moved(shape, plane)
    best: tuple[int, float, shapely.Geometry] | None = None
    for angle in _directions(flat):
        turned = shapely.affinity.rotate(flat, -angle, origin=(0.0, 0.0), use_radians=True)
        for made in _candidates(turned):
            iou = overlap(made, turned)
            n_corners = shapely.count_coordinates(made)
            if iou >= least_iou and (best is None or (n_corners, -iou) < best[:2]):
                back = shapely.affinity.rotate(made, angle, origin=(0.0, 0.0), use_radians=True)
                best = n_corners, -iou, back
    if best is None or overlap(ellipse_of(flat), flat) > -best[1] + ROUNDER:
        return None
    return _moved(best[2], np.asarray(np.linalg.inv(plane), np.float64))


def overlap(one: shapely.Geometry, other: shapely.Geometry) -> float:
    """Intersection over union."""
    common = one.intersection(other).area
    return float(common / (one.area + other.area - common))


def ellipse_of(shape: shapely.Geometry) -> shapely.Geometry:
    """The ellipse with the area's middle, spread and direction of a shape: its first and second moments."""
    triangles = [
        part for part in shapely.get_parts(shapely.constrained_delaunay_triangles(shape)) if part.area > 0.0
    ]
    corners = np.array([shapely.get_coordinates(part)[:3] for part in triangles])
    areas = np.array([part.area for part in triangles])
    middles = corners.mean(axis=1)
    middle = (areas[:, None] * middles).sum(axis=0) / areas.sum()
    # of one triangle: a twelfth of the sum over its corners and, nine times, its middle
    points = np.concatenate([corners, np.repeat(middles[:, None], 9, axis=1)], axis=1) - middle
    spread = np.einsum("n,npi,npj->ij", areas / 12, points, points) / areas.sum()
    values, axes = np.linalg.eigh(spread)
    turn = np.linspace(0.0, 2 * np.pi, 64, endpoint=False)
    ring = np.column_stack([np.cos(turn), np.sin(turn)]) * (2 * np.sqrt(np.maximum(values, 1e-12)))
    return shapely.Polygon(ring @ axes.T + middle)


def _moved(shape: shapely.Geometry, matrix: NDArray[np.float64]) -> shapely.Geometry:
    return shapely.transform(shape, lambda xy: xy @ matrix.T)


def _directions(shape: shapely.Geometry) -> tuple[float, float]:
    """Two guesses of the direction of the walls, in radians."""
    corners = shapely.get_coordinates(shapely.oriented_envelope(shape))
    side = corners[1] - corners[0]
    coarse = shapely.simplify(shape, 1.5)
    steps = np.concatenate([np.diff(ring, axis=0) for ring in _rings(coarse)])
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    turns = np.exp(4j * np.arctan2(steps[:, 1], steps[:, 0]))
    return float(np.arctan2(side[1], side[0])), float(np.angle((lengths * turns).sum()) / 4)


def _rings(shape: shapely.Geometry) -> Iterator[NDArray[np.float64]]:
    """All rings, (n, 2), closed."""
    for part in shapely.get_parts(shape):
        yield shapely.get_coordinates(part.exterior)
        for hole in part.interiors:
            yield shapely.get_coordinates(hole)


def _candidates(shape: shapely.Geometry) -> Iterator[shapely.Geometry]:
    """Valid shapes with level and upright edges, made with one tolerance after the other."""
    for tolerance in _TOLERANCES:
        if tolerance > max(_LARGEST_SHARE * float(np.sqrt(shape.area)), _TOLERANCES[0]):
            return
        every = [_polygon(part, tolerance) for part in shapely.get_parts(shape)]
        parts = [part for part in every if part is not None]
        if len(parts) < len(every):
            continue
        made = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
        if made.is_valid and made.area > 0.0:
            yield made


def _polygon(part: shapely.Polygon, tolerance: float) -> shapely.Polygon | None:
    coarse = shapely.simplify(part, tolerance)
    if coarse.geom_type != "Polygon" or coarse.is_empty or len(coarse.interiors) < len(part.interiors):
        return None
    rings = [_levelled(ring) for ring in _rings(coarse)]
    if any(ring is None for ring in rings):
        return None
    return shapely.Polygon(rings[0], rings[1:])


def _levelled(ring: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Corners (m, 2) of a ring whose edges are level and upright by turns. None: it has too few."""
    steps = np.diff(ring, axis=0)
    middles = (ring[:-1] + ring[1:]) / 2
    level = np.abs(steps[:, 0]) >= np.abs(steps[:, 1])
    changes = np.flatnonzero(level != np.roll(level, 1))
    if len(changes) < 4:
        return None
    run = (
        np.cumsum(level != np.roll(level, 1)) - 1
    )  # the edges before the first change belong to the last run
    run[run < 0] = len(changes) - 1
    length = np.where(level, np.abs(steps[:, 0]), np.abs(steps[:, 1]))
    place = np.where(level, middles[:, 1], middles[:, 0])
    total = np.bincount(run, weights=length)
    at = np.bincount(run, weights=length * place) / np.maximum(total, 1e-12)
    following = np.roll(at, -1)
    is_level = level[changes]
    x = np.where(is_level, following, at)
    y = np.where(is_level, at, following)
    return np.column_stack([x, y])
