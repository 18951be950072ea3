"""SAM models as ONNX files: an encoder and a decoder in one folder, told apart by what they take and give.

1. `_signature` reads names and shapes of what each graph takes and gives.
2. DECODERS knows three families by these names. `sam` is what the scripts of Segment Anything and MobileSAM
   write, `edge-sam` what that of EdgeSAM writes, `sam2` what samexporter writes.
3. An encoder takes one thing, the normalised image (1, 3, S, S), and gives what the decoder takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import InputError

Family = Literal["sam", "edge-sam", "sam2"]

_POINTS = frozenset({"point_coords", "point_labels"})
_MASK = frozenset({"mask_input", "has_mask_input"})
DECODERS: Mapping[Family, tuple[frozenset[str], tuple[str, str]]] = {
    "sam": (
        _POINTS | _MASK | {"image_embeddings", "orig_im_size"},
        ("iou_predictions", "low_res_masks"),
    ),
    "edge-sam": (_POINTS | {"image_embeddings"}, ("scores", "masks")),
    "sam2": (
        _POINTS | _MASK | {"image_embed", "high_res_feats_0", "high_res_feats_1"},
        ("iou_predictions", "masks"),
    ),
}
"""Family -> names that its decoder takes, and the names of its scores and of its small logits."""


@dataclass(frozen=True, kw_only=True)
class SamExport:
    """The two files of an export, and how to speak to them."""

    encoder: Path
    decoder: Path
    family: Family
    image_px: int
    """S, the side of the square image that the encoder takes."""
    decodes_many: bool
    """Whether one call of the decoder takes several prompts of an image."""


def find_export(folder: Path) -> SamExport:
    """Find encoder and decoder among the .onnx files of a folder.

    Raises InputError: onnxruntime or the folder is missing, a file is unreadable, there is not exactly one of
    each, or they do not belong together.
    """
    if not folder.is_dir():
        raise InputError(
            "the checkpoint of a sam-onnx segmenter must be a folder with an encoder and a decoder",
            came=f"{folder}, which is no folder",
            remedy="name such a folder; `make mobile-sam` fetches one",
        )
    graphs = {path: _signature(path) for path in sorted(folder.glob("*.onnx"))}
    encoders = {path: graph for path, graph in graphs.items() if graph.is_encoder}
    decoders = {path: graph for path, graph in graphs.items() if graph.family is not None}
    if len(encoders) != 1 or len(decoders) != 1:
        raise _not_a_pair(folder, graphs, encoders, decoders)
    ((encoder, image),) = encoders.items()
    ((decoder, prompts),) = decoders.items()
    assert prompts.family is not None
    wanted = DECODERS[prompts.family][0] & {"high_res_feats_0", "high_res_feats_1"}
    if not wanted <= set(image.outputs) or (not wanted and len(image.outputs) != 1):
        raise InputError(
            "encoder and decoder must be of one model",
            came=f"{encoder.name}, which gives {', '.join(image.outputs)}, and a decoder of {prompts.family}",
            remedy="keep in the folder the two files of one export",
        )
    (shape,) = image.inputs.values()
    return SamExport(
        encoder=encoder,
        decoder=decoder,
        family=prompts.family,
        image_px=int(shape[2] or 0),
        decodes_many=not isinstance(prompts.inputs["point_coords"][0], int),
    )


@dataclass(frozen=True, kw_only=True)
class _Signature:
    """What a graph takes and gives: names, and of inputs their shapes, with names for free sides."""

    inputs: Mapping[str, tuple[int | str | None, ...]]
    outputs: tuple[str, ...]

    @property
    def family(self) -> Family | None:
        """The family of which it is a decoder."""
        for family, (taken, given) in DECODERS.items():
            if set(self.inputs) == taken and set(given) <= set(self.outputs):
                return family
        return None

    @property
    def is_encoder(self) -> bool:
        """Whether it takes one square image in colour, of a fixed size."""
        if len(self.inputs) != 1:
            return False
        (shape,) = self.inputs.values()
        return len(shape) == 4 and shape[1] == 3 and isinstance(shape[2], int) and shape[2] == shape[3]

    def text(self) -> str:
        taken = ", ".join(f"{name} {list(shape)}" for name, shape in self.inputs.items())
        return f"takes {taken} and gives {', '.join(self.outputs)}"


def _signature(path: Path) -> _Signature:
    session = open_session(path, device="cpu", optimised=False)
    return _Signature(
        inputs={given.name: tuple(given.shape) for given in session.get_inputs()},
        outputs=tuple(given.name for given in session.get_outputs()),
    )


def open_session(path: Path, *, device: str, optimised: bool = True, threads: int = 0) -> Any:
    """Load a graph. `device`: cpu or cuda. `threads`: 0 leaves their number to the library.

    Raises InputError: onnxruntime is missing, or the file is no graph that it reads.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise InputError(
            "a sam-onnx segmenter needs onnxruntime",
            came="an environment without it",
            remedy="install the extra `onnx` (pip install -e '.[onnx]')",
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    providers = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=[*providers, "CPUExecutionProvider"]
        )
    except Exception as error:
        raise InputError(
            "an .onnx file of the segmenter must be readable",
            came=f"{path} ({type(error).__name__}: {str(error)[:200]})",
            remedy="fetch or export it again",
        ) from error


def _not_a_pair(
    folder: Path,
    graphs: Mapping[Path, _Signature],
    encoders: Mapping[Path, _Signature],
    decoders: Mapping[Path, _Signature],
) -> InputError:
    unknown = [path for path in graphs if path not in encoders and path not in decoders]
    told = f"encoders: {len(encoders)}, decoders: {len(decoders)}, of {len(graphs)} .onnx files in {folder}"
    if unknown:
        told += f"; {unknown[0].name} {graphs[unknown[0]].text()}"
    return InputError(
        "a sam-onnx segmenter needs one encoder and one decoder in its folder",
        came=told,
        remedy="keep there the two files of one export of SAM, MobileSAM or EdgeSAM (by their own scripts, "
        "the encoder without pre-processing) or of SAM2 (by samexporter)",
    )
