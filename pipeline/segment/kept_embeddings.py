"""Image encodings that outlive a run: a second query about the same pixels does not encode them again.

1. The key of an encoding is a hash of what it follows from: the pixels as the encoder gets them (8-bit RGB
   after the stretch, and the side of the square), and the encoder with everything that moves a bit of its
   output: weights, config, arithmetic, libraries, device, threads and the project's own code.
2. Tensors are stored as safetensors, each in its order in memory: in another one the decoder may round in
   another way. So masks are the same to the bit, whether an encoding was made or kept. Only where several
   tiles are encoded in one call (`tile_batch`), an encoding follows by rounding from the others of its call,
   and a kept one has had other company.
3. `KeptEmbeddings` looks an encoding up before it asks the segmenter for it. It counts as an encoding of the
   run all the same, because records must not depend on what a cache holds; `usage` tells them apart.

Where this pays, and where not: tests/benchmarks/README.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, ModelError
from pipeline.files.blob_cache import BlobCache
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.proposals import EverythingOptions, Proposals
from pipeline.segment.segmenter import BatchSegmenter, Embedding, ProposingSegmenter, Segmenter

if TYPE_CHECKING:
    from torch import Tensor

GB = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """The `[cache]` table: image encodings that are kept for later queries. Does not change the result."""

    folder: str = ""
    """Absolute path on each machine that segments. Empty: nothing is kept."""
    gb: float = 50.0
    """Size limit of the folder on each machine, in 10**9 bytes."""

    def __post_init__(self) -> None:
        if not 0 < self.gb < float("inf"):
            raise ValueError(f"the cache's limit is a size in gigabytes above 0, got {self.gb}")

    @property
    def on(self) -> bool:
        return bool(self.folder)


@runtime_checkable
class KeepableSegmenter(ProposingSegmenter, Protocol):
    """A segmenter whose encodings can be stored."""

    def encoder_identity(self) -> Mapping[str, object]:
        """Everything that an encoding follows from but the pixels, as JSON-like values."""

    def square_of(self, image: TileImage) -> int:
        """Side in pixels of the square that a tile is padded to."""

    def tensors_of(self, embedding: Embedding) -> dict[str, Tensor]:
        """What of an embedding is to be stored, by names."""

    def embedding_of(self, image: TileImage, stored: Mapping[str, Tensor]) -> Embedding:
        """Make the embedding of a tile from what was stored. Raises KeyError for other names."""


def check_cache(cache: CacheOptions, *, kind: str, crops: bool, routes: bool) -> None:
    """Check a cache against the `[segmenter]` table. `crops`, `routes`: whether it cuts pictures of its own.
    Raises InputError.
    """
    if not cache.on:
        return
    why = {
        "://" in cache.folder: f"{cache.folder}, which is no local folder",
        kind == "oracle": "an oracle, which encodes nothing",
        crops: "crops around prompts, which are other pictures for each query",
        routes: "two routes, which are other pictures for each query",
        kind == "mask-model": "a model that looks at picture and query at once",
    }.get(True)
    if why:
        raise InputError(
            "--cache keeps the encodings of whole tiles in a local folder", came=why, remedy="drop --cache"
        )
    try:
        Path(cache.folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "--cache must be a folder that can be written to",
            came=f"{cache.folder}: {error.strerror}",
            remedy="give another one",
        ) from error


def with_cache(segmenter: Segmenter, options: CacheOptions) -> Segmenter:
    """The segmenter, with the cache that the options ask for."""
    if not options.on or not isinstance(segmenter, KeepableSegmenter):
        return segmenter
    return KeptEmbeddings(segmenter, BlobCache(Path(options.folder), int(options.gb * GB)))


class KeptEmbeddings:
    """A `ProposingSegmenter` around another one, whose encodings are looked up first."""

    def __init__(self, segmenter: KeepableSegmenter, cache: BlobCache) -> None:
        self._segmenter = segmenter
        self._cache = cache
        told = json.dumps(dict(segmenter.encoder_identity()), sort_keys=True, default=str)
        self._encoder = hashlib.sha256(told.encode()).digest()

    @property
    def model_id(self) -> str:
        return self._segmenter.model_id

    @property
    def n_embeddings(self) -> int:
        """Encodings so far, made or kept."""
        return self._segmenter.n_embeddings + self._cache.counts.hits

    def usage(self) -> dict[str, int]:
        """Count as the segmenter does, and what was kept: `cache_hits` were not made."""
        told: Any = getattr(self._segmenter, "usage", dict)
        return {**told(), **{f"cache_{name}": n for name, n in asdict(self._cache.counts).items()}}

    def load_times(self) -> dict[str, float]:
        told: Any = getattr(self._segmenter, "load_times", dict)
        return dict(told())

    def embed(self, image: TileImage) -> Embedding:
        """Give the encoding of a tile: the one that was kept, or a new one, which is kept. Raises
        ModelError.
        """
        key = self.key_of(image)
        blob = self._cache.get(key)
        if blob is not None:
            return self._segmenter.embedding_of(image, tensors_in(blob))
        embedding = self._segmenter.embed(image)
        self._cache.put(key, as_bytes(self._segmenter.tensors_of(embedding)))
        return embedding

    def embed_many(self, images: Sequence[TileImage]) -> list[Embedding]:
        """Give the encodings of several tiles; what was not kept is made in one call. Raises ModelError."""
        keys = [self.key_of(image) for image in images]
        blobs = [self._cache.get(key) for key in keys]
        found = {
            at: self._segmenter.embedding_of(images[at], tensors_in(blob))
            for at, blob in enumerate(blobs)
            if blob is not None
        }
        missing = [at for at in range(len(images)) if at not in found]
        views = [images[at] for at in missing]
        encoder = self._segmenter
        if len(views) > 1 and isinstance(encoder, BatchSegmenter):
            made = encoder.embed_many(views)
        else:
            made = [encoder.embed(view) for view in views]
        for at, embedding in zip(missing, made, strict=True):
            self._cache.put(keys[at], as_bytes(self._segmenter.tensors_of(embedding)))
            found[at] = embedding
        return [found[at] for at in range(len(images))]

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        return self._segmenter.segment(embedding, prompts)

    def propose(self, embedding: Embedding, prompts: Sequence[Prompt], rules: EverythingOptions) -> Proposals:
        return self._segmenter.propose(embedding, prompts, rules)

    def feature_map(self, embedding: Embedding) -> NDArray[np.float32]:
        return self._segmenter.feature_map(embedding)

    def key_of(self, image: TileImage) -> str:
        """Hash what the encoding of a tile follows from, 64 hex digits."""
        rgb = np.ascontiguousarray(image.rgb)
        place = f"{rgb.shape} {rgb.dtype} {self._segmenter.square_of(image)} "
        digest = hashlib.sha256(self._encoder + place.encode())
        digest.update(rgb)
        return digest.hexdigest()


def as_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Encode tensors as safetensors, each as it lies in memory; `tensors_in` reads them."""
    from safetensors.torch import save

    stored = {}
    for name, tensor in tensors.items():
        order = sorted(range(tensor.dim()), key=lambda axis: -tensor.stride(axis))
        axes = ",".join(map(str, order))
        stored[f"{name}|{axes}"] = tensor.detach().permute(order).cpu().contiguous().clone()
    return bytes(save(stored))


def tensors_in(blob: bytes | memoryview) -> dict[str, Tensor]:
    """Undo `as_bytes`, on the CPU. Raises ModelError for bytes that are none."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        stored = load(bytes(blob))
    except SafetensorError as error:
        raise ModelError(f"a kept encoding cannot be read: {error}; remove the folder of --cache") from error
    found = {}
    for name, tensor in stored.items():
        name, _, axes = name.rpartition("|")
        order = [int(axis) for axis in axes.split(",") if axis]
        found[name] = tensor.permute([order.index(axis) for axis in range(len(order))])
    return found


def torch_identity(device: str) -> dict[str, object]:
    """What of torch and the machine moves the last bits of an encoding."""
    import torch

    found: dict[str, object] = {"torch": torch.__version__, "device": device}
    if device.startswith("cuda"):
        return {**found, "name": torch.cuda.get_device_name(device), "cudnn": torch.backends.cudnn.version()}
    capability = torch.backends.cpu.get_cpu_capability()
    return {**found, "threads": torch.get_num_threads(), "cpu": capability}


def code_identity(*modules: str) -> str:
    """Hash the source of modules of this folder: another version of the code makes other keys."""
    digest = hashlib.sha256()
    for name in (*modules, Path(__file__).stem):
        source = Path(__file__).with_name(f"{name}.py").read_bytes()
        digest.update(hashlib.sha256(source).digest())
    return digest.hexdigest()
