"""One encoding per image, all candidates decoded together: with a counting fake by hand, and with the real
SAM2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from grpo_scenes import ABSENT, PRESENT, TARGET, mask_of, write_data

from pipeline.finetune.grpo.combinations import COMBINATIONS
from pipeline.finetune.grpo.grpo_data import TrainingSample, read_samples
from pipeline.finetune.grpo.reward_engine import Candidate, RewardEngine, reply_metrics, reward_functions
from pipeline.finetune.grpo.rewards import Contract
from pipeline.prompt.profile import load_profile
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.segmenter import Embedding, Segmenter

CONTRACT = Contract(profile=load_profile("embedded"), combination=COMBINATIONS["box+point"])


class BoxSegmenter:
    """Draws every prompt's box and keeps count; refuses an embedding that is not the newest image's."""

    def __init__(self) -> None:
        self.n_embeddings = 0
        self.decoded: list[list[Prompt]] = []
        self.seen: list[TileImage] = []

    @property
    def model_id(self) -> str:
        return "boxes"

    def embed(self, image: TileImage) -> Embedding:
        self.n_embeddings += 1
        self.seen.append(image)
        height, width = image.rgb.shape[:2]
        return Embedding(
            tile=image.tile,
            shape_px=(height, width),
            square_px=max(height, width),
            valid=image.valid,
            features=len(self.seen),
        )

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        assert embedding.features == len(self.seen)
        self.decoded.append(list(prompts))
        masks = []
        for index, prompt in enumerate(prompts):
            assert prompt.box_xyxy is not None
            x0, y0, x1, y1 = (round(v) for v in prompt.box_xyxy)
            masks.append(
                MaskCrop(
                    row0=y0,
                    col0=x0,
                    mask=np.ones((y1 - y0, x1 - x0), np.bool_),
                    score=1.0,
                    prompt_index=index,
                )
            )
        return masks


_: type[Segmenter] = BoxSegmenter


@pytest.fixture
def samples(tmp_path: Path) -> tuple[TrainingSample, ...]:
    first = read_samples(write_data(tmp_path / "one", [(PRESENT, mask_of(TARGET)), (ABSENT, None)]))
    return (*first, *read_samples(write_data(tmp_path / "two", [(PRESENT, mask_of((0, 0, 64, 64)))])))


def reply(*boxes: tuple[int, int, int, int]) -> str:
    """In the embedded contract: numbers are pixels of the 252 px image."""
    items = ",".join(
        f'{{"positive_points":[[{(x0 + x1) // 2},{(y0 + y1) // 2}]],"bbox_2d":[{x0},{y0},{x1},{y1}]}}'
        for x0, y0, x1, y1 in boxes
    )
    return f"<think>So.</think><answer>[{items}]</answer>"


EXACT = (39, 59, 118, 148)
"""TARGET in units of the 252 px frame, rounded: 40, 60, 120, 150 px times 252 / 256."""


def test_images_are_encoded_once_and_equal_prompts_decoded_once(samples: tuple[TrainingSample, ...]) -> None:
    segmenter = BoxSegmenter()
    replies = [
        reply(EXACT),
        reply(),
        "rubbish",
        reply(EXACT),
        reply((0, 0, 63, 63)),
        reply(EXACT, (200, 200, 252, 252)),
        reply((0, 0, 252, 252)),
    ]
    asked = [samples[0], samples[1], samples[0], samples[0], samples[2], samples[1], samples[2]]
    scores = RewardEngine(segmenter, CONTRACT).score(
        [Candidate(sample=s, reply=r) for s, r in zip(asked, replies, strict=True)]
    )
    assert segmenter.n_embeddings == 2
    assert [len(prompts) for prompts in segmenter.decoded] == [2, 2]
    assert scores[0].iou == scores[3].iou == pytest.approx(1, abs=0.02)
    assert [score.iou for score in scores[1:3]] == [1.0, 0.0]
    assert scores[4].iou == 1.0
    assert (scores[5].iou, scores[5].n_items, scores[5].empty_target) == (0.0, 2, True)
    assert scores[6].iou == pytest.approx(64 * 64 / 256**2)
    assert [score.format for score in scores] == [1, 1, 0, 1, 1, 1, 1]


def test_without_a_prompt_nothing_is_encoded(samples: tuple[TrainingSample, ...]) -> None:
    segmenter = BoxSegmenter()
    scores = RewardEngine(segmenter, CONTRACT).score(
        [Candidate(sample=samples[1], reply=reply()), Candidate(sample=samples[0], reply="?")]
    )
    assert segmenter.n_embeddings == 0
    assert [score.iou for score in scores] == [1, 0]


def test_the_segmenter_sees_the_image_squashed_where_asked(samples: tuple[TrainingSample, ...]) -> None:
    segmenter = BoxSegmenter()
    (score,) = RewardEngine(segmenter, CONTRACT, image_px=(128, 512)).score(
        [Candidate(sample=samples[0], reply=reply(EXACT))]
    )
    assert segmenter.seen[0].rgb.shape == (512, 128, 3)
    assert score.iou == pytest.approx(1, abs=0.05)


def test_a_reply_cut_at_the_token_limit_keeps_its_whole_items_but_no_format_point(
    samples: tuple[TrainingSample, ...],
) -> None:
    cut = reply(EXACT, EXACT)[:-40]
    (score,) = RewardEngine(BoxSegmenter(), CONTRACT).score(
        [Candidate(sample=samples[0], reply=cut, complete=False)]
    )
    assert (score.format, score.n_items) == (0, 1)
    assert score.iou == pytest.approx(1, abs=0.02)


def test_the_functions_for_trl_pay_and_log(samples: tuple[TrainingSample, ...]) -> None:
    engine = RewardEngine(BoxSegmenter(), CONTRACT)
    logged = dict[str, float]()
    judge_format, judge_iou = reward_functions(engine, samples, frozenset({2}))
    assert (judge_format.__name__, judge_iou.__name__) == ("format", "iou")
    texts = [reply(EXACT), reply(), reply((5, 5, 20, 20)), reply(EXACT)]
    given = {
        "completions": [[{"role": "assistant", "content": text}] for text in texts],
        "completion_ids": [[7, 2], [7, 2], [7, 2], [7, 7]],
        "sample": [0, 1, 1, 0],
        "log_metric": logged.__setitem__,
        "prompts": None,
        "trainer_state": None,
    }
    assert judge_format(**given) == [1, 1, 1, 0]
    assert judge_iou(**given) == pytest.approx([1, 1, 0, 1], abs=0.02)
    assert logged == {
        "rejection": 0.25, "rejection_of_absent": 0.5, "rejection_of_present": 0.0, "malformed": 0.0,
        "items": 0.75,
        "iou_present": pytest.approx(1, abs=0.02), "embeddings": 1.0,
    }  # fmt: skip


def test_shares_of_nothing_are_left_out(samples: tuple[TrainingSample, ...]) -> None:
    scores = RewardEngine(BoxSegmenter(), CONTRACT).score([Candidate(sample=samples[1], reply=reply())])
    assert reply_metrics(scores) == {"rejection": 1, "rejection_of_absent": 1, "malformed": 0, "items": 0}


@pytest.mark.parametrize("name", ["box", "box+point"])
def test_real_sam2_pays_the_right_box_more_than_a_wrong_one(
    samples: tuple[TrainingSample, ...], name: str
) -> None:
    from pipeline.segment.sam2_segmenter import Sam2Segmenter
    from pipeline.segment.segmenter import Sam2Options

    profile = load_profile("embedded-box" if name == "box" else "embedded")
    segmenter = Sam2Segmenter(Sam2Options(device="cpu"))
    runs: list[int] = []
    segmenter.network.image_encoder.register_forward_hook(
        lambda _module, args, _out: runs.append(args[0].shape[0])
    )
    engine = RewardEngine(segmenter, Contract(profile=profile, combination=COMBINATIONS[name]))
    wrong = (170, 20, 240, 60)
    replies = [reply(EXACT), reply(wrong), reply(EXACT, wrong), reply(), reply(EXACT)]
    scores = engine.score([Candidate(sample=samples[0], reply=one) for one in replies])
    assert runs == [1]
    assert engine.n_embeddings == 1
    assert scores[0].iou == scores[4].iou > 0.5
    assert scores[0].iou > scores[2].iou > scores[1].iou
    assert scores[3].iou == 0
