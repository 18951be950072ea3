"""Continue training from an exported prompter, whose vocabulary may differ from today's.

1. `check_start` checks that an export can be used, before anything is rendered.
2. `hold_to_start` records what the training began with, and refuses another start or seed.
3. `take_over` loads the exported weights into a new model.
4. `start_vision` trains the dense heads on the frozen tower. The other stages run as in a training from
   nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.finetune.prompter import checkpoints
from pipeline.finetune.prompter.forward import encode, to_device
from pipeline.finetune.prompter.prompter_data import TileStore, batch_of
from pipeline.finetune.prompter.training_place import TrainingPlace
from pipeline.finetune.prompter.vision import dense_loss, dense_targets, make_dense_heads
from pipeline.finetune.working_dir import Beginning, require_same_training, start_name
from pipeline.world.classes import CLASSES

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor
    from torch.nn import Module

    from pipeline.finetune.prompter.prompter_model import PrompterShape

EMBEDDING = "model.language_model.embed_tokens.weight"
TOWER = "model.visual."
HEAD_STEPS = 90
HEAD_RATE = 3e-3
HEAD_BATCH = 16
START_FILE = "start.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """What the training in a working directory began with, and how many tiles it has used since."""

    start: str = ""
    """Path of the exported prompter that it started from. Empty: from nothing."""
    seed: int | None = None
    """Seed of the training. None: an earlier version, which recorded only the start, made the directory."""
    devices: tuple[str, ...] = ()
    tiles: int = 0
    """Largest number of training tiles that any command asked for."""


def begun_in(work: Path) -> Begun | None:
    """Read what `hold_to_start` recorded. None: nothing is there.

    The export's card is written from this, not from the last command.
    """
    path = work / START_FILE
    if not path.is_file():
        return None
    said = json.loads(path.read_text(encoding="utf-8"))
    devices = tuple(str(device) for device in said.get("devices", ()))
    return Begun(
        start=str(said["start"]), seed=said.get("seed"), devices=devices, tiles=int(said.get("tiles", 0))
    )


def hold_to_start(place: TrainingPlace, *, tiles: int = 0) -> None:
    """Record what the training in a working directory begins with.

    A start is identified by its path. A directory with checkpoints but without a record began from nothing.
    Raises InputError when the training began with another start or seed.
    """
    now = Begun(
        start=start_name(place.start),
        seed=place.seed,
        devices=(place.device,),
        tiles=tiles,
    )
    any_step = any(
        checkpoints.list_checkpoints(place.checkpoints(stage)) for stage in ("vision", "language", "joint")
    )
    began = begun_in(place.work) or (Begun() if any_step else now)
    require_same_training(
        place.work,
        began=Beginning(start=began.start, seed=began.seed),
        now=Beginning(start=now.start, seed=now.seed),
    )
    if began.seed is not None:
        devices = tuple(dict.fromkeys((*began.devices, place.device)))
        began = replace(began, devices=devices, tiles=max(began.tiles, tiles))
    place.work.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(place.work / START_FILE, (json.dumps(asdict(began)) + "\n").encode())


def check_start(checkpoint: Path, shape: PrompterShape) -> None:
    """Build a model to check that `take_over` would accept a checkpoint. Raises InputError."""
    from pipeline.finetune.prompter.prompter_model import build_model
    from pipeline.finetune.prompter.tokenizer import train_tokenizer

    tokenizer = train_tokenizer([])
    take_over(checkpoint, build_model(shape, tokenizer, seed=0), tokenizer)


def take_over(checkpoint: Path, model: Module, tokenizer: Tokenizer) -> int:
    """Load an exported prompter into `model`, in place. Tokens that the export lacks keep their new rows.

    Returns the number of tokens whose row of the embedding was loaded.
    """
    import torch

    weights = exported_weights(checkpoint)
    fresh = model.state_dict()
    known = _vocabulary(checkpoint)
    rows = [(place, known[text]) for text, place in tokenizer.get_vocab().items() if text in known]
    embedding = fresh[EMBEDDING].clone()
    given = weights.get(EMBEDDING)
    if (
        given is None
        or given.shape[1:] != embedding.shape[1:]
        or len(given) <= max(known.values(), default=0)
    ):
        raise _unlike(checkpoint, EMBEDDING)
    here, there = torch.tensor(rows, device=embedding.device).T
    embedding[here] = given.to(embedding.device)[there]
    weights[EMBEDDING] = embedding
    for name, value in fresh.items():
        if name != "lm_head.weight" and (name not in weights or weights[name].shape != value.shape):
            raise _unlike(checkpoint, name)
    model.load_state_dict(weights, strict=False)
    return len(rows)


def exported_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Read name -> float32 tensor of an exported prompter. Raises InputError: missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    missing = [name for name in ("model.safetensors", "tokenizer.json") if not (checkpoint / name).is_file()]
    if missing:
        remedy = "name a folder that this job or train_prompter.py has exported"
        raise InputError(
            "training starts from an exported prompter",
            came=f"{checkpoint} without {' and '.join(missing)}",
            remedy=remedy,
        )
    path = checkpoint / "model.safetensors"
    try:
        return {name: value.float() for name, value in load_file(str(path)).items()}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _vocabulary(checkpoint: Path) -> dict[str, int]:
    from tokenizers import Tokenizer as AnyTokenizer

    path = checkpoint / "tokenizer.json"
    try:
        return dict(AnyTokenizer.from_file(str(path)).get_vocab())
    except Exception as error:  # the package raises Exception itself
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        "training starts from a whole prompter", came=f"{path}: {error}", remedy="export or fetch it again"
    )


def start_vision(place: TrainingPlace, checkpoint: Path, *, steps: int = HEAD_STEPS) -> None:
    """Replace the vision stage of a training from `checkpoint`: keep its tower and train dense heads on it.

    An export has no such heads. Tower and heads are written as the end of the vision stage, once.
    """
    import torch

    from pipeline.finetune.prompter.prompter_model import build_vision

    folder = place.checkpoints("vision")
    if checkpoints.list_checkpoints(folder):
        return
    vision = build_vision(place.shape, seed=place.seed).to(place.device)
    tower = {
        name.removeprefix(TOWER): value
        for name, value in exported_weights(checkpoint).items()
        if name.startswith(TOWER)
    }
    try:
        vision.load_state_dict(tower)
    except RuntimeError as error:
        raise _unlike(checkpoint, str(error).splitlines()[-1].strip()) from error
    heads = make_dense_heads(place.shape.text_width, len(CLASSES)).to(place.device)
    optimiser = torch.optim.AdamW(heads.parameters(), betas=(0.9, 0.98), weight_decay=0.0)
    store = TileStore(place.train_tiles)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = HEAD_RATE * min(1.0, (steps - step) / (steps / 2))
        batch = batch_of(store, seed=place.seed + 3, step=step, size=HEAD_BATCH, n_tiles=len(store))
        targets = to_device(dense_targets(batch.truths, n_classes=len(CLASSES)), place.device)
        with torch.no_grad():
            tokens = encode(vision, torch.from_numpy(batch.rgb).to(place.device))
        loss, parts = dense_loss(heads, tokens, targets)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if step % 10 == 0 or step + 1 == steps:
            told = "  ".join(f"{name} {value:.3f}" for name, value in parts.items())
            print(f"heads {step + 1}/{steps}  loss {float(loss.detach()):.3f}  {told}", flush=True)  # noqa: T201
    checkpoints.save_checkpoint(
        folder, step=steps, modules={"vision": vision, "heads": heads}, optimisers={"adamw": optimiser}
    )


def _unlike(checkpoint: Path, what: str) -> InputError:
    remedy = "start from a prompter of the same shape, or train from nothing"
    return InputError(
        "training starts from a prompter of the shape that is trained",
        came=f"{checkpoint}: {what}",
        remedy=remedy,
    )
