"""What a kept image encoding saves and costs: encode a tile, against reading its encoding from disk.

    python tests/benchmarks/embedding_cache.py [--cache DIR] [--mobile-sam FOLDER] [--large]

One tile of noise per model, 1024 px (512 for the embedded one). SAM2's weights are random: what an encoder
costs follows from its shape. Printed per model, as ratios and bytes:

    bytes       of the stored encoding
    encode      seconds to make it, over seconds to read it with the file in memory, hash checks included
    cold        the same, with the file dropped from memory first
    store       seconds to encode and store, over seconds to encode alone
    break-even  MB/s that a disk must give at least, so that reading is not slower than encoding
    pixels      seconds to read the tile from a local GeoTIFF (512 px blocks, DEFLATE), over those to encode
                it: what a cache of pixels could save at most

--cache: where to write; a disk to be judged. Without it a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio

from pipeline.files.blob_cache import BlobCache
from pipeline.schema.imagery import TileImage
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.kept_embeddings import GB, KeepableSegmenter, KeptEmbeddings, as_bytes, tensors_in
from pipeline.segment.onnx_segmenter import OnnxSegmenter
from pipeline.segment.sam2_model import build_architecture, package_config_dir
from pipeline.segment.sam2_segmenter import Sam2Segmenter
from pipeline.segment.segmenter import Sam2Options

TIMES = 3
"""Best of so many."""


def noise(side_px: int, seed: int) -> TileImage:
    """A tile of noise."""
    window = Window(row0=0, col0=0, row1=side_px, col1=side_px)
    rgb = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    tile = TileSpec(tile_row=0, tile_col=0, core=window, read=window)
    return TileImage(tile=tile, rgb=rgb, valid=np.ones((side_px, side_px), dtype=np.bool_))


def models(folder: Path, mobile_sam: Path, *, large: bool) -> Iterator[tuple[str, int, KeepableSegmenter]]:
    """Name, side of a tile in pixels, and segmenter; one in memory at a time."""
    plain = Sam2Options(device="cpu")
    yield "embedded", 512, Sam2Segmenter(plain)
    if mobile_sam.is_dir():
        yield "MobileSAM (ONNX)", 1024, OnnxSegmenter(replace(plain, checkpoint=str(mobile_sam)))
    for size in ("t", "l") if large else ("t",):
        yield f"SAM2.1 {size}, random", 1024, Sam2Segmenter(random_weights(folder, size))


def random_weights(folder: Path, size: str) -> Sam2Options:
    """A SAM2.1 of one size, with random weights in a file."""
    from safetensors.torch import save_model

    config = f"configs/sam2.1/sam2.1_hiera_{size}.yaml"
    weights = folder / f"{size}.safetensors"
    save_model(build_architecture(package_config_dir() / config), str(weights))
    return Sam2Options(device="cpu", config=config, checkpoint=str(weights))


def best_s(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """Least seconds of TIMES calls; `before` is called before each and not timed."""
    times = []
    for _ in range(TIMES):
        before()
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def drop(file: Path) -> None:
    """Take a file out of the system's memory, as far as the system does that."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def pixels_s(folder: Path, side_px: int) -> float:
    """Seconds to read a tile from a local GeoTIFF that compresses as photographs do."""
    path = folder / "scene.tif"
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 200, (3, side_px // 8, side_px // 8))
    values = coarse.repeat(8, axis=1).repeat(8, axis=2) + rng.integers(0, 16, (3, side_px, side_px))
    shape = {"width": side_px, "height": side_px, "count": 3, "dtype": "uint8"}
    blocks = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    place = rasterio.Affine(1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    with rasterio.open(path, "w", driver="GTiff", transform=place, **shape, **blocks) as dataset:
        dataset.write(values.astype(np.uint8))

    def read() -> None:
        with rasterio.open(path) as opened:
            opened.read()

    return best_s(read)


def measure(name: str, side_px: int, segmenter: KeepableSegmenter, folder: Path) -> str:
    """One line of the table."""
    kept = KeptEmbeddings(segmenter, BlobCache(folder, 20 * GB))
    image = noise(side_px, 0)
    segmenter.embed(noise(side_px, 1))  # the first one warms up
    encode_s = best_s(lambda: segmenter.embed(image))
    embedding = kept.embed(image)
    blob = as_bytes(segmenter.tensors_of(embedding))
    store_s = best_s(
        lambda: BlobCache(folder, 20 * GB).put("ff" * 32, as_bytes(segmenter.tensors_of(embedding)))
    )
    (file,) = folder.glob(f"??/{kept.key_of(image)}.blob")
    warm_s = best_s(lambda: kept.embed(image))
    cold_s = best_s(lambda: kept.embed(image), lambda: drop(file))
    assert len(tensors_in(blob)) > 0
    overhead_s = best_s(lambda: (kept.key_of(image), tensors_in(blob)))
    needed = len(blob) / max(encode_s - overhead_s, 1e-9) / 1e6
    return (
        f"{name:22}{len(blob) / 1e6:8.1f} MB  encode {encode_s / warm_s:6.0f} x"
        f"  cold {encode_s / cold_s:6.0f} x  store {(encode_s + store_s) / encode_s:5.2f} x"
        f"  break-even {needed:7.1f} MB/s  pixels {pixels_s(folder, side_px) / encode_s:6.4f}"
    )


def main() -> None:
    """Measure all models and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--mobile-sam", type=Path, default=Path.home() / ".cache/terraquery/mobile-sam")
    parser.add_argument("--large", action="store_true", help="SAM2.1-large too: about 3 GB of memory")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.cache) as scratch:
        for number, (name, side_px, segmenter) in enumerate(
            models(Path(scratch), args.mobile_sam, large=args.large)
        ):
            print(measure(name, side_px, segmenter, Path(scratch) / str(number)), flush=True)


if __name__ == "__main__":
    main()
