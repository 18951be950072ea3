"""Scores against segmenters whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError, ModelError
from pipeline.finetune.segmenter.segmenter_eval import (
    Score,
    known_box_scores,
    main,
    table,
    tile_scores,
    wide_scores,
    world_scores,
)
from pipeline.finetune.segmenter.training_windows import (
    FIRST_MEASURED_SEED,
    MIN_OBJECT_PX,
    PoolOptions,
    draw_window,
)
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.sam2_model import EMBEDDED_DIR
from pipeline.segment.segmenter import Embedding


class BoxFiller:
    """Answers every prompt with its filled box; asserts that each tile is embedded once."""

    model_id = "box"

    def __init__(self) -> None:
        self.n_embeddings = 0

    def embed(self, image: TileImage) -> Embedding:
        self.n_embeddings += 1
        shape = (image.rgb.shape[0], image.rgb.shape[1])
        return Embedding(
            tile=image.tile, shape_px=shape, square_px=max(shape), valid=image.valid, features=None
        )

    def segment(self, _embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        masks = []
        for index, prompt in enumerate(prompts):
            assert prompt.box_xyxy is not None
            x0, y0, x1, y1 = (round(v) for v in prompt.box_xyxy)
            mask = np.ones((y1 - y0, x1 - x0), np.bool_)
            masks.append(MaskCrop(row0=y0, col0=x0, mask=mask, score=0.25, prompt_index=index))
        return masks


def test_filled_boxes_score_as_the_box_does() -> None:
    truth = np.zeros((64, 64), np.bool_)
    truth[10:30, 5:45] = True
    hole = truth.copy()
    hole[10:20, 5:25] = False
    rgb = np.zeros((64, 64, 3), np.uint8)
    scores = tile_scores(BoxFiller(), rgb, [truth, hole], ["full", "part"], np.random.default_rng(0))
    assert [score.exact_iou for score in scores] == [1.0, 0.75]
    for score in scores:
        assert score.exact_box_iou == score.exact_iou
        assert score.iou == pytest.approx(score.box_iou)
    assert scores[0].size_px == pytest.approx(np.sqrt(800))
    assert tile_scores(BoxFiller(), rgb, [], [], np.random.default_rng(0)) == []


def test_worlds_are_scored() -> None:
    filler = BoxFiller()
    scores = world_scores(filler, n_windows=8)
    assert filler.n_embeddings <= 8
    assert scores
    assert all(0 < score.exact_iou <= 1 for score in scores)


def test_wide_pictures_are_those_of_a_pool_of_worlds_of_their_own() -> None:
    filler = BoxFiller()
    options = PoolOptions(first_seed=FIRST_MEASURED_SEED, tile_px=128)
    scores = wide_scores(filler, n_windows=6, options=options)
    drawn = [draw_window(options, index)[1] for index in range(6)]
    sizes = [
        float(np.sqrt(count))
        for labels in drawn
        for count in np.bincount(labels.ravel())[1:]
        if count >= MIN_OBJECT_PX
    ]
    assert sizes
    assert [score.size_px for score in scores] == pytest.approx(sizes)
    assert filler.n_embeddings == sum(
        (np.bincount(labels.ravel())[1:] >= MIN_OBJECT_PX).any() for labels in drawn
    )


def test_wide_pictures_are_grouped_by_the_ground_size_of_a_pixel() -> None:
    one_scale = {"first_seed": FIRST_MEASURED_SEED, "tile_px": 128}
    for scale, group in ((2.5, "0.15 to 0.3"), (1.0, "0.3 to 0.6"), (0.7, "0.6 to 1"), (0.25, "1 to 2")):
        options = PoolOptions(**one_scale, min_scale=scale, max_scale=scale)
        groups = {score.group for score in wide_scores(BoxFiller(), n_windows=3, options=options)}
        assert groups == {f"{group} m per px"}


def test_table_counts_each_object_once() -> None:
    scores = [
        Score(group=g, size_px=s, iou=i, box_iou=0.5, exact_iou=0.6, exact_box_iou=0.7)
        for g, s, i in (("a", 10, 0.2), ("b", 200, 0.8))
    ]
    lines = table(scores).splitlines()
    assert lines[2] == "| all | 2 | 0.500 | 0.500 | 0.500 | 0.600 | 0.700 |"
    assert lines[3].startswith("| a | 1 | 0.200")
    assert [line.split("|")[2].strip() for line in lines[5:]] == ["1", "0", "0", "0", "1"]


def test_known_polygons_on_real_imagery() -> None:
    data = Path(__file__).parents[4] / ".." / "shared" / "data" / "kampala"
    raster = data / "kampala_west.tif"
    polygons = data / "kampala_west_buildings.geojson"
    if not raster.is_file() or not polygons.is_file():
        pytest.skip("the sample imagery ../shared/data/kampala is absent")
    scores = known_box_scores(BoxFiller(), raster, polygons, tile_px=512, limit=20)
    assert len(scores) == 20
    assert 0.5 < np.mean([score.exact_iou for score in scores]) < 0.95


def test_polygons_elsewhere_are_refused(tmp_path: Path) -> None:
    import geopandas as gpd
    import rasterio
    from rasterio.transform import from_origin
    from shapely.geometry import box

    with rasterio.open(
        tmp_path / "r.tif", "w", driver="GTiff", width=64, height=64, count=3, dtype="uint8",
        crs="EPSG:32636",
        transform=from_origin(0, 64, 1, 1),
    ) as dataset:  # fmt: skip
        dataset.write(np.zeros((3, 64, 64), np.uint8))
    gpd.GeoDataFrame(geometry=[box(900, 900, 910, 910)], crs="EPSG:32636").to_file(tmp_path / "p.gpkg")
    with pytest.raises(InputError, match="inside the raster"):
        known_box_scores(BoxFiller(), tmp_path / "r.tif", tmp_path / "p.gpkg", tile_px=32, limit=5)


def test_the_command_line_takes_weights_and_their_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "elsewhere.yaml"
    config.write_bytes((EMBEDDED_DIR / "config.yaml").read_bytes())
    weights = tmp_path / "alone.safetensors"
    weights.symlink_to(EMBEDDED_DIR / "model.safetensors")
    main(["--windows", "3"])
    shipped = capsys.readouterr().out
    main(["--windows", "3", "--checkpoint", str(weights), "--config", str(config)])
    assert capsys.readouterr().out == shipped
    small = Path(__file__).parents[4] / "notebooks/grpo/segmenters/small.yaml"
    with pytest.raises(ModelError, match="another architecture"):
        main(["--checkpoint", str(weights), "--config", str(small)])
