"""The calibration job on oracle models, whose curves are known beforehand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import NormalDist

import geopandas as gpd
import numpy as np
import pytest
import shapely
from job_files import load_job
from label_worlds import write_label_world

from pipeline.prompt.looks.oracle_gate import MARGINS


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """768 x 768 px: 4 x 4 cores of 192 px, a tank of 20 x 20 px in the middle of every second one."""
    labels = np.zeros((768, 768), dtype=np.int64)
    for row in range(4):
        for col in range(row % 2, 4, 2):
            labels[192 * row + 90 : 192 * row + 110, 192 * col + 90 : 192 * col + 110] = 4 * row + col + 1
    folder = tmp_path_factory.mktemp("calibrate") / "world"
    ids = [int(i) for i in np.unique(write_label_world(folder, labels).ids) if i]
    frame = gpd.GeoDataFrame(
        {"instance_id": ids, "class": ["tank"] * len(ids)},
        geometry=[shapely.Point(0, 0)] * len(ids),
        crs=32633,
    )
    frame.to_parquet(folder / "truth.parquet")
    queries = [{"query": f"tanks, wording {k}", "class": "tank", "kind": "explicit"} for k in range(6)]
    (folder / "queries.json").write_text(json.dumps(queries))
    return folder


def test_the_curve_of_a_noisy_oracle_is_the_known_one(world: Path, tmp_path: Path) -> None:
    main = load_job("calibrate_gate").main
    words = [
        "--world",
        str(world),
        "--models",
        f"oracle:{world / 'labels.tif'}?noise=mild&seed=4",
        "--runner",
        "local",
    ]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    document = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert document["counts"]["pairs"] == 16 * 6
    assert (document["counts"]["present"], document["counts"]["absent"]) == (48, 48)
    assert (tmp_path / "out" / "calibration.png").stat().st_size > 0
    for row in document["gate"]["tile"]:
        if 0 < row["threshold"] < 1:
            logit = math.log(row["threshold"] / (1 - row["threshold"]))
            for figure, mean in (("recall", MARGINS["mild"]), ("passed_empty", -MARGINS["mild"])):
                share = NormalDist().cdf(mean - logit)
                assert abs(row[figure] - share) <= 5 * math.sqrt(share * (1 - share) / 48) + 1e-3, (
                    row,
                    figure,
                )
    assert document["gate"]["tile"][0]["recall"] == 1.0
    assert document["gate"]["parent"][0]["asked"] == 1.0
    assert document["gate"]["parent"] != document["gate"]["tile"]
    tile, parent = (document["gate"][look][0] for look in ("tile", "parent"))
    assert (tile["n"], parent["n"]) == (48, 48)
    assert tile["independent"] == 8, "six queries about one tile that all pass are one picture"
    assert parent["independent"] == 1, "the world is one block"
    assert parent["passed_empty"] is None, "its block shows tanks, so no pair of it is empty land"
    assert (
        "no threshold: at 0.001 it is 1, but 48 pairs are worth 8 independent ones"
        in (tmp_path / "out" / "calibration.md").read_text()
    )
    kept = {row["threshold"]: row["kept_wrong"] for row in document["verifier"]}
    assert kept[0.5] in (0.0, None), "the oracle verifier's probability is the IoU itself"
    costs = document["costs"]
    assert 0 < costs["prompter_s"]["low"] <= costs["prompter_s"]["median"] <= costs["prompter_s"]["high"]
    assert set(costs["look_s"]) == {"tile", "parent"}
    assert costs["verifier_s"]["median"] > 0
    assert document["verifier"][0]["cost"] == round(costs["verifier_cost"]["median"], 4) > 1
    assert costs["masks_per_pair"] > 0


def test_bad_words_are_refused_before_anything_is_loaded(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = load_job("calibrate_gate").main
    assert main(["--world", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "make_world.py" in capsys.readouterr().err
    assert main(["--world", str(world), "--out", str(tmp_path / "out"), "--first", "0"]) == 2
    config = tmp_path / "vector.toml"
    config.write_text("[prompter]\nkind = 'vector'\nmodel = 'x.gpkg'\n")
    assert main(["--world", str(world), "--out", str(tmp_path / "out"), "--config", str(config)]) == 2
    assert not (tmp_path / "out").exists()
