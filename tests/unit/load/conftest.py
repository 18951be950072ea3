"""Small rasters with known pixels, a range server that counts, and the sample data when it is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions, Plan, plan_tiles
from pipeline.load.prepare_scenes import LoadOptions, SceneSource, prepare_scenes
from pipeline.load.reader import CogReader
from pipeline.load.stretch import IDENTITY
from pipeline.load.validity import ValidityRule

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    if not DATA.is_dir():
        pytest.skip("the sample data folder ../shared/data is absent")
    return DATA


def write_tif(
    path: Path, pixels: NDArray[np.generic], *, mask: NDArray[np.bool_] | None = None, **profile: object
) -> str:
    """Write (bands, H, W) pixels as a tiled GeoTIFF, or as a COG with `driver="COG"`."""
    settings: dict[str, object] = {
        "driver": "GTiff",
        "count": pixels.shape[0],
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype.name,
        "crs": "EPSG:32636",
        "transform": Affine(0.5, 0, 450000, 0, -0.5, 40000),
        "compress": "DEFLATE",
    }
    if profile.get("driver") != "COG":
        settings |= {"tiled": True, "blockxsize": 64, "blockysize": 64}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
        rasterio.open(path, "w", **(settings | profile)) as dataset,
    ):
        if pixels.shape[0] >= 3 and dataset.driver != "COG":
            names = [
                ColorInterp.red,
                ColorInterp.green,
                ColorInterp.blue,
                *[ColorInterp.undefined] * (pixels.shape[0] - 3),
            ]
            if pixels.shape[0] == 4 and profile.get("alpha"):
                names[3] = ColorInterp.alpha
            dataset.colorinterp = names
        dataset.write(pixels)
        if mask is not None:
            dataset.write_mask(mask)
    return str(path)


@pytest.fixture
def make_tif(tmp_path: Path) -> Callable[..., str]:
    def make(name: str, pixels: NDArray[np.generic], **profile: object) -> str:
        return write_tif(tmp_path / name, pixels, **profile)  # type: ignore[arg-type]

    return make


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A planned run and its reader."""

    plan: Plan
    reader: CogReader


@pytest.fixture
def open_run() -> Iterator[Callable[..., OpenRun]]:
    readers: list[CogReader] = []

    def make(
        *hrefs: str,
        grid: GridOptions | None = None,
        load: LoadOptions | None = None,
        bands: tuple[int, ...] | None = None,
        unseen: bool = False,
    ) -> OpenRun:
        """`unseen`: nothing looks at the pixels before the reader does, so GDAL has none in its cache."""
        load = load or LoadOptions()
        scenes = open_scenes(SourceOptions(hrefs=hrefs, bands=bands))
        plan = plan_tiles(None, scenes, grid or GridOptions(tile_px=64, halo_px=8, block_tiles=2))
        if unseen:
            ((scene,), (offset,), (window,)) = plan.scenes, plan.offsets, plan.scene_windows
            rule = ValidityRule(kind="none")
            sources = (
                SceneSource(scene=scene, offset_rc=offset, window=window, stretch=IDENTITY, validity=rule),
            )
        else:
            sources = prepare_scenes(plan.scenes, load, offsets=plan.offsets, windows=plan.scene_windows)
        readers.append(CogReader(sources, plan.grid, options=load))
        return OpenRun(plan=plan, reader=readers[-1])

    yield make
    for reader in readers:
        reader.close()


@dataclass(kw_only=True)
class RangeServer:
    """An HTTP server of one folder with range requests; `requests` logs (method, path, range header)."""

    url: str
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    """Status codes to answer the next GETs with, first come first served."""

    def gets(self) -> int:
        return sum(method == "GET" for method, _, _ in self.requests)


class _RangeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: object, folder: Path, log: RangeServer, **kwargs: object) -> None:
        self._folder = folder
        self._log = log
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(send_body=False)

    def do_GET(self) -> None:
        self._answer(send_body=True)

    def _answer(self, *, send_body: bool) -> None:
        wanted = self.headers.get("Range", "")
        self._log.requests.append((self.command, self.path, wanted))
        if send_body and self._log.failures:
            self._empty(self._log.failures.pop(0))
            return
        path = self._folder / self.path.lstrip("/").partition("?")[0]
        if not path.is_file():
            self._empty(404)
            return
        body = path.read_bytes()
        total = len(body)
        if wanted.startswith("bytes="):
            first, _, last = wanted[len("bytes=") :].partition("-")
            start = int(first)
            stop = min(int(last) + 1 if last else total, total)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{total}")
            body = body[start:stop]
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"abc-1"')
        self.send_header("Last-Modified", "Tue, 01 Sep 2026 10:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if send_body:
            self.wfile.write(body)

    def _empty(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def range_server(tmp_path: Path) -> Iterator[RangeServer]:
    log = RangeServer(url="")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_RangeHandler, folder=tmp_path, log=log))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    log.url = f"http://127.0.0.1:{server.server_port}"
    yield log
    server.shutdown()
    server.server_close()
    thread.join()
