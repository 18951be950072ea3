"""Which body a CRS lies on, and a PROJ that cannot find its database."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from pyproj import CRS

from pipeline.errors import InputError
from pipeline.geo import planet
from pipeline.geo.planet import body_name, body_of, require_proj

LOCAL = 'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'


@pytest.mark.parametrize(
    ("crs", "body"),
    [
        ("EPSG:32633", "earth"),
        ("EPSG:4326", "earth"),
        ("EPSG:4979", "earth"),
        ("EPSG:32633+5773", "earth"),
        ("EPSG:27572", "earth"),
        ("+proj=sinu +R=6371007.181", "earth"),
        ("+proj=utm +zone=33 +ellps=bessel +towgs84=1,2,3", "earth"),
        ("IAU_2015:49910", "other"),
        ("IAU_2015:30100", "other"),
        ("+proj=eqc +R=2575000", "other"),
        ("+proj=longlat +a=71492000 +b=66854000", "other"),
        ("EPSG:4978", "none"),
        ("EPSG:5773", "none"),
        (LOCAL, "none"),
    ],
)
def test_a_crs_lies_on_the_earth_on_another_body_or_on_none(crs: str, body: str) -> None:
    assert body_of(CRS.from_user_input(crs).to_wkt()) == body


def test_a_body_is_named_by_its_ellipsoid() -> None:
    assert body_name(CRS.from_user_input("IAU_2015:30100").to_wkt()) == (
        "Moon (2015) - Sphere (radius 1,737 km)"
    )
    assert body_name(CRS.from_user_input("+proj=eqc +R=2575000").to_wkt()) == (
        "a body without a name (radius 2,575 km)"
    )
    assert body_name(LOCAL) == ""


def test_a_proj_that_works_is_not_mentioned() -> None:
    require_proj()


def older_database(folder: Path) -> None:
    """rasterio's proj.db as another version of PROJ would have it."""
    shutil.copy(Path(rasterio.__file__).parent / "proj_data" / "proj.db", folder)
    with sqlite3.connect(folder / "proj.db") as database:
        database.execute("UPDATE metadata SET value = '2' WHERE key = 'DATABASE.LAYOUT.VERSION.MINOR'")


@pytest.mark.parametrize("variable", ["PROJ_DATA", "PROJ_LIB"])
@pytest.mark.parametrize("older", [False, True])
def test_a_database_of_another_installation_is_named(tmp_path: Path, variable: str, older: bool) -> None:
    """Set before Python starts, as a shell or a conda environment does it."""
    if not (Path(rasterio.__file__).parent / "proj_data" / "proj.db").is_file():
        pytest.skip("this rasterio has no proj.db of its own")
    if older:
        older_database(tmp_path)
    code = (
        "import sys\n"
        "from pipeline.run.job_exit import exit_code; from pipeline.geo.planet import require_proj\n"
        "sys.exit(exit_code(lambda: require_proj() or 0))"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PROJ_")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**clean, variable: str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the PROJ installation is broken: ")
    assert f"{variable}={tmp_path}" in line
    assert ("DATABASE.LAYOUT.VERSION.MINOR = 2" in line) == older
    assert "unset PROJ_DATA" in line


def test_a_proj_that_answers_wrongly_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planet, "_pyproj_longitude", lambda: 15.1)
    with pytest.raises(InputError, match=r"the one in pyproj.*begins at longitude 15\.1, not 15"):
        require_proj()
