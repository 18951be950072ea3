"""Train an embedded segmenter on masks of procedural worlds, from imprecise boxes and points.

1. `check` refuses what cannot be trained. A training from nothing begins with `warmup`, which teaches the
   decoder what a box is.
2. `batch` draws the windows and prompts of a step.
3. `forward` runs SAM2's image path, first at `coarse_image_px`.
4. `mask_loss` adds cross-entropy, dice and the error of the predicted IoU; `dense_loss` trains the encoder's
   finest features.
5. AdamW follows the rate of `rate_at`. The exponential mean of the weights is what ships.
6. `Training.save` writes the state, `publish` the weights at the end.
"""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, ModelError
from pipeline.finetune.segmenter.imprecise_prompts import (
    augment,
    interior_points,
    jittered_box,
    pick_objects,
    true_box,
)
from pipeline.finetune.segmenter.segmenter_loss import (
    PromptBatch,
    dense_loss,
    dense_targets,
    forward,
    mask_loss,
    set_image_px,
    written_out_attention,
)
from pipeline.finetune.segmenter.segmenter_options import (
    MEAN_FILE,
    STATE_FILE,
    SegmenterTrainOptions,
    check,
)
from pipeline.finetune.segmenter.training_windows import WindowPool, start_renderers
from pipeline.finetune.segmenter.warmup import WARMUP_IMAGE_PX, tie_places, warm_up_loss
from pipeline.finetune.working_dir import REMEDY, Beginning, require_same_training, start_name
from pipeline.run.stop_signals import stopped_by, unbroken_each
from pipeline.segment.sam2_model import build_architecture, load_weights, read_state

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, Parameter
    from torch.optim import Optimizer

Report = Callable[[str], None]


def batch(options: SegmenterTrainOptions, pool: WindowPool, step: int) -> PromptBatch:
    """Draw the windows and imprecise prompts of step `step` (from 0).

    The generator is `default_rng((seed, step))`, so a resumed run repeats and skips nothing.
    """
    rng = np.random.default_rng((options.seed, step))
    prefix = visible_prefix(options, step)
    kind = rng.choice(4, p=[0.12, 0.5, 0.28, 0.1])
    n_points, with_box = (int(kind), True) if kind < 3 else (2, False)
    rgbs: list[NDArray[np.uint8]] = []
    coords = []
    boxes = []
    masks = []
    dense = []
    while len(rgbs) < options.windows_per_step:
        index = int(rng.integers(prefix))
        rgb, labels = augment(np.asarray(pool.rgb[index]), np.asarray(pool.labels[index]), rng)
        chosen = pick_objects(labels, options.prompts_per_window, rng)
        if not chosen:
            continue
        rgbs.append(rgb)
        dense.append(dense_targets(labels))
        for label in chosen:
            mask = labels == label
            true = true_box(mask)
            box, error_px = jittered_box(true, labels.shape[0], rng)
            points = interior_points(mask, n_points, error_px, rng)
            coords.append(np.concatenate([box.reshape(2, 2), points]) if with_box else points)
            boxes.append(true)
            masks.append(mask)
    one = ([2, 3] if with_box else []) + [1] * n_points
    return PromptBatch(
        rgb=np.stack(rgbs),
        coords_xy=np.stack(coords).astype(np.float32),
        labels=np.tile(np.asarray(one, dtype=np.int32), (len(coords), 1)),
        boxes_xyxy=np.stack(boxes).astype(np.float32),
        masks=np.stack(masks),
        dense=np.stack(dense),
    )


def visible_prefix(options: SegmenterTrainOptions, step: int) -> int:
    """Count the windows from which a step draws. This depends on the step, not on the renderers' speed."""
    first = min(options.pool.n_windows, 16 * options.windows_per_step)
    return min(options.pool.n_windows, first + int(step * options.windows_per_step / options.reuse))


def rate_at(options: SegmenterTrainOptions, step: int) -> float:
    """Compute the learning rate of a step: linear warm-up, constant, linear fall to zero at `steps`."""
    rise = min(1.0, (step + 1) / options.warmup_steps)
    fall = min(1.0, (options.steps - step) / max(1.0, options.decay_share * options.steps))
    return options.rate * min(rise, fall)


class Training:
    """Model, mean weights and optimiser of a training, with their files.

    Raises InputError when the config is no SAM2, when `start` or the state in `work_dir` has another
    architecture, or when the state has another start or seed.
    """

    def __init__(self, options: SegmenterTrainOptions) -> None:
        import torch

        torch.manual_seed(options.seed)
        self.options = options
        self.model = _built(options.config).train().to(options.device)
        self.resumed = self._state.exists()
        if options.start is None:
            tie_places(self.model)
        elif not self.resumed:
            _go_on_from(options.start, self.model)
        self.dense_head = torch.nn.Conv2d(self.model.hidden_dim // 8, 2, 1).to(options.device)
        self.mean = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            self._trained(), lr=options.rate, weight_decay=options.weight_decay
        )
        self.step = 0
        if self.resumed:
            self._resume()

    @property
    def _state(self) -> Path:
        return self.options.work_dir / STATE_FILE

    def _trained(self) -> list[Parameter]:
        return [*self.model.parameters(), *self.dense_head.parameters()]

    def warm_up(self, say: Report) -> None:
        """Teach the decoder boxes (`warmup`). This takes a minute or two and is not resumable."""
        import torch

        options = self.options
        optimiser = torch.optim.AdamW(
            self._trained(), lr=options.warmup_rate, weight_decay=options.weight_decay
        )
        set_image_px(self.model, WARMUP_IMAGE_PX)
        ious: list[float] = []
        for step in range(options.box_steps):
            rate = min(1.0, (step + 1) / 40) * min(
                1.0, (options.box_steps - step) / (0.2 * options.box_steps)
            )
            for group in optimiser.param_groups:
                group["lr"] = options.warmup_rate * rate
            with written_out_attention(torch.device(options.device).type == "cpu"):
                loss, reached = warm_up_loss(self.model, np.random.default_rng((options.seed, 1, step)))
                self._descend(loss, optimiser)
            ious.append(float(reached.mean()))
            if (step + 1) % 50 == 0:
                scores = f"loss {float(loss.detach()):.3f}  IoU {np.mean(ious[-50:]):.3f}"
                say(f"segmenter warm-up {step + 1}/{options.box_steps}  {scores}")
        self.mean.load_state_dict(self.model.state_dict())

    def _descend(self, loss: Tensor, optimiser: Optimizer) -> None:
        import torch

        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trained(), 1.0)
        optimiser.step()

    def advance(self, inputs: PromptBatch) -> tuple[float, float]:
        """Take one optimiser step; returns (loss, mean IoU of the batch)."""
        import torch

        options = self.options
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(options, self.step)
        coarse = self.step < options.coarse_share * options.steps
        set_image_px(self.model, options.coarse_image_px if coarse else self.mean.image_size)
        with written_out_attention(torch.device(options.device).type == "cpu"):
            logits, iou, fine = forward(self.model, inputs, options.device, options.loss_px)
            loss, reached = mask_loss(logits, iou, inputs)
            loss = loss + options.dense_weight * dense_loss(self.dense_head, fine, inputs)
            self._descend(loss, self.optimiser)
        decay = min(options.mean_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.mean.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        self.step += 1
        return float(loss.detach()), float(reached.mean())

    def save(self) -> None:
        """Write the resumable state and the mean weights so far to the working directory, each atomically."""
        import torch
        from safetensors.torch import save_file

        options = self.options
        options.work_dir.mkdir(parents=True, exist_ok=True)
        weights = {
            "now": self.model.state_dict(),
            "mean": self.mean.state_dict(),
            "dense": self.dense_head.state_dict(),
        }
        flat = {
            f"{kind}.{name}": tensor.contiguous()
            for kind, state in weights.items()
            for name, tensor in state.items()
        }
        _replace(options.work_dir / f"weights-{self.step}.safetensors", lambda path: save_file(flat, path))
        began = {"steps": options.steps, "start": start_name(options.start), "seed": options.seed}
        state = {"step": self.step, **began, "optimiser": self.optimiser.state_dict()}
        _replace(self._state, lambda path: torch.save(state, path))
        for old in options.work_dir.glob("weights-*.safetensors"):
            if old.name != f"weights-{self.step}.safetensors":
                old.unlink()
        publish(self.mean, options.work_dir / MEAN_FILE)

    def _resume(self) -> None:
        import torch

        state = torch.load(self._state, map_location="cpu", weights_only=True)
        work_dir = self.options.work_dir
        require_same_training(
            work_dir,
            began=Beginning(start=str(state.get("start", "")), seed=state.get("seed")),
            now=Beginning(start=start_name(self.options.start), seed=self.options.seed),
        )
        self.step = int(state["step"])
        flat = read_state(work_dir / f"weights-{self.step}.safetensors")
        for kind, model in (("now", self.model), ("mean", self.mean), ("dense", self.dense_head)):
            part = {
                name.removeprefix(f"{kind}."): tensor
                for name, tensor in flat.items()
                if name.startswith(f"{kind}.")
            }
            try:
                model.load_state_dict(part)
            except RuntimeError as error:
                came = f"{work_dir}, which holds a training of another one than {self.options.config}"
                raise InputError("a training keeps its architecture", came=came, remedy=REMEDY) from error
        self.optimiser.load_state_dict(state["optimiser"])


def _built(config: Path) -> Module:
    """Build a new model."""
    try:
        return build_architecture(config)
    except ModelError as error:
        remedy = "name a config like the embedded segmenter's (--config)"
        raise InputError("the config must describe a SAM2", came=str(error), remedy=remedy) from error


def _go_on_from(start: Path, model: Module) -> None:
    """Fill a new model with given weights. Raises InputError."""
    try:
        load_weights(model, start)
    except ModelError as error:
        remedy = "name the config that the weights belong to (--config), or train from nothing"
        raise InputError(
            "training starts from weights of the config's architecture", came=str(error), remedy=remedy
        ) from error


def publish(model: Module, out: Path) -> None:
    """Write a model's weights as float16 safetensors, atomically."""
    from safetensors.torch import save_file

    out.parent.mkdir(parents=True, exist_ok=True)
    half = {name: tensor.detach().cpu().half().contiguous() for name, tensor in model.state_dict().items()}
    _replace(out, lambda path: save_file(half, path, metadata={"format": "pt"}))
    out.chmod(0o644)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    write(beside)
    beside.replace(path)


def train(options: SegmenterTrainOptions, report: Report | None = None) -> Path:
    """Train to `options.steps`, resuming from `work_dir`, publish the weights and return their path.

    `report` gets a line of progress every ten steps; None: lines go to standard error. Raises InputError
    before anything is rendered, when `check` or `Training` refuses, or when `work_dir` holds a pool of other
    options.
    """
    say = report or (lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
    check(options)
    training = Training(options)
    pool = WindowPool(options.work_dir / "pool", options.pool)
    renderers = start_renderers(options.work_dir / "pool", options.pool, options.renderers)
    start = time.monotonic()
    first = training.step
    losses = []
    ious = []
    if not training.resumed:
        if options.start is None:
            training.warm_up(say)
        training.save()
        start = time.monotonic()
    try:
        for _ in unbroken_each(range(training.step, options.steps)):
            pool.wait_for(visible_prefix(options, training.step), renderers)
            loss, iou = training.advance(batch(options, pool, training.step))
            losses.append(loss)
            ious.append(iou)
            if training.step % 10 == 0 or training.step == options.steps:
                pace = (time.monotonic() - start) / (training.step - first)
                left_min = pace * (options.steps - training.step) / 60
                scores = f"loss {np.mean(losses[-50:]):.3f}  IoU {np.mean(ious[-50:]):.3f}"
                where = f"segmenter step {training.step}/{options.steps}"
                say(f"{where}  {scores}  {pace:.2f} s/step  {left_min:.0f} min left")
            if training.step % options.save_every == 0 or training.step == options.steps or stopped_by():
                training.save()
    finally:
        for process in renderers:
            process.terminate()
    publish(training.mean, options.out)
    return options.out
