from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.prompt.profile import PROFILE_DIR, known_profiles, load_profile


def test_think2seg_is_the_published_contract() -> None:
    profile = load_profile("think2seg")
    assert (profile.image_px, profile.resampling, profile.frame) == ((840, 840), "lanczos", "image_px")
    assert profile.frame_wh == (840.0, 840.0)
    assert profile.parser.n_points == 2
    assert profile.parser.nms_iou == 0.5
    text = profile.user_text("tanks that may leak")
    assert text.splitlines() == [
        'Please find "tanks that may leak", identify the target. For each target instance, provide:',
        "1.  `bbox_2d`: A tight bounding box.",
        "2.  `positive_points`: Exactly two points, placed inside the target.",
        "Output your thinking process in <think> </think> tags.",
        "Output the final answer in <answer> </answer> tags with the specified JSON format. "
        "If no targets are found, output an empty list.",
        "i.e. <think> thinking process here </think> ",
        '<answer>```json[{"bbox_2d": [310,360,567,586], "positive_points": [[434, 474], [450, 460]]}, '
        '{"bbox_2d": [10,200,100,320], "positive_points": [[50, 250], [90, 300]]}]```</answer>',
    ]
    assert profile.system.startswith("You are a remote sensing analysis assistant. ")
    assert profile.max_tokens == 2048


@pytest.mark.parametrize(
    ("name", "boxes", "points", "negatives"),
    [
        ("think2seg", True, 2, 0),
        ("think2seg-box", True, 0, 0),
        ("think2seg-points2", False, 2, 0),
        ("think2seg-box-points4", True, 4, 0),
        ("think2seg-box-points2-negatives2", True, 2, 2),
    ],
)
def test_the_worked_example_of_a_think2seg_profile_is_a_valid_reply(
    name: str, boxes: bool, points: int, negatives: int
) -> None:
    """Points of the second example lie inside its box, those beside it outside, so nothing is dropped."""
    from pipeline.prompt.reply.parse import parse_reply

    profile = load_profile(name)
    example = profile.user[profile.user.index("<think> thinking process") :]
    parsed = parse_reply(example, profile, finish_reason="stop")
    assert len(parsed.items) == 2
    assert parsed.notes == ()
    for item in parsed.items:
        assert (item.box_xyxy is not None) == boxes
        assert (len(item.points_xy), len(item.negative_xy)) == (points, negatives)


@pytest.mark.parametrize(
    ("name", "image_px", "resampling", "frame_wh", "asked"),
    [
        ("seg-zero", 840, "bilinear", 840, "Please find 'tanks, that may leak' with bbox and points."),
        (
            "vision-reasoner",
            840,
            "bilinear",
            840,
            'Please find "tanks, that may leak" with bboxs and points.',
        ),
        ("remote-reasoner", 896, "bicubic", 896, 'Text description: "Tanks, that MAY leak?".'),
        ("geoseg", 896, "bicubic", 1000, 'based on the question: ""Tanks, that MAY leak?"."'),
        ("geoseg-released", 896, "bicubic", 896, "The image is 896 pixels wide and 896 pixels high."),
        ("qwen3-vl", 896, "bicubic", 1000, 'answers ""Tanks, that MAY leak?"."'),
        ("internvl3", 896, "bicubic", 1000, '<ref>"Tanks, that MAY leak?".</ref>'),
        ("llava-1.5", 336, "bicubic", 1, 'answers ""Tanks, that MAY leak?"."'),
    ],
)
def test_interfaces_of_other_families(
    name: str, image_px: int, resampling: str, frame_wh: float, asked: str
) -> None:
    """What methods tables say of each: image, filter, frame, and how the query is put."""
    profile = load_profile(name)
    assert (profile.image_px, profile.resampling) == ((image_px, image_px), resampling)
    assert profile.frame_wh == (frame_wh, frame_wh)
    query = "Tanks, that MAY leak." if name == "seg-zero" else '"Tanks, that MAY leak?".'
    assert asked in profile.user_text(query)
    assert profile.system == ""


def test_a_query_of_nothing_but_marks_stays_whole() -> None:
    assert '"?!"' in load_profile("vision-reasoner").user_text("?!")


def test_the_fingerprint_of_a_profile_names_new_keys_only_where_they_act() -> None:
    """So that runs of earlier versions stay the same runs."""
    before = load_profile("embedded").result_parameters()
    assert set(before) == {
        *("name", "system", "user", "image_px", "resampling", "frame", "max_tokens", "parser")
    }
    assert isinstance(before["parser"], dict)
    assert not {"points_form", "reply_form"} & set(before["parser"])
    now = load_profile("seg-zero").result_parameters()
    assert (now["lower_case"], now["strip_query"]) == (True, ".")
    assert isinstance(now["parser"], dict)
    assert now["parser"]["points_form"] == "one_each"


def test_embedded() -> None:
    profile = load_profile("embedded")
    assert (profile.system, profile.user_text("pools")) == ("", "Find: pools")
    assert (profile.image_px, profile.resampling, profile.frame) == ((252, 252), "bilinear", "image_px")
    assert profile.parser.n_points == 1
    assert profile.parser.required == ("bbox_2d",)


def test_all_shipped_profiles_load_and_are_frozen() -> None:
    assert known_profiles() == (
        "embedded",
        "embedded-box",
        "embedded-box-points2",
        "embedded-box-points2-negatives2",
        "embedded-box-points4",
        "embedded-points2",
        "geoseg",
        "geoseg-released",
        "internvl3",
        "llava-1.5",
        "qwen3-vl",
        "remote-reasoner",
        "seg-zero",
        "think2seg",
        "think2seg-box",
        "think2seg-box-points2-negatives2",
        "think2seg-box-points4",
        "think2seg-points2",
        "vision-reasoner",
    )
    for name in known_profiles():
        profile = load_profile(name)
        assert profile.name == name
        with pytest.raises(FrozenInstanceError):
            profile.max_tokens = 1  # type: ignore[misc]


def test_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown profile 'seg-one'.*embedded, .*think2seg"):
        load_profile("seg-one")


def test_braces_in_a_query_are_text() -> None:
    assert load_profile("embedded").user_text("{query} {0}") == "Find: {query} {0}"


def changed(tmp_path: Path, old: str, new: str) -> str:
    text = (PROFILE_DIR / "embedded.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "own.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return str(path)


def test_own_profile_in_thousandths(tmp_path: Path) -> None:
    profile = load_profile(changed(tmp_path, 'frame = "image_px"', 'frame = "thousand"'))
    assert profile.frame_wh == (1000.0, 1000.0)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_tokens = 640", "max_tokens = 640\ntemperature = 1", "temperature"),
        ("max_tokens = 640", "", "max_tokens"),
        ("max_tokens = 640", "max_tokens = 0", "max_tokens"),
        ("max_tokens = 640", 'max_tokens = "640"', "max_tokens"),
        ('frame = "image_px"', 'frame = "pixels"', "frame"),
        ('resampling = "bilinear"', 'resampling = "sinc"', "resampling"),
        ("[252, 252]", "[252]", "image_px"),
        ("[252, 252]", "[0, 252]", "image_px"),
        ("[252, 252]", "[252.5, 252]", "image_px"),
        ("Find: {query}", "Find it", "query"),
        ("Find: {query}", "{query} {query}", "query"),
        ("n_points = 1", "n_point = 1", "n_points"),
        ('required = ["bbox_2d"]', 'required = ["box"]', "required"),
        ('box_keys = ["bbox_2d"]', "box_keys = []", "box_keys"),
        ("nms_iou = 0.5", "nms_iou = 1.5", "nms_iou"),
        ("[parser]", "[parser", "TOML"),
    ],
)
def test_wrong_profiles_are_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_profile(changed(tmp_path, old, new))


GATE = 'yes = [" some"]\nno = [" none"]\n\n[verifier]'


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ('yes = []\nno = [" none"]\n[verifier]', "yes and no"),
        ('yes = ["a"]\nno = ["a", "b"]\n[verifier]', "the other does not have"),
        ('no = [" none"]\n[verifier]', "needs the key 'yes'"),
        ('yes = ["a"]\nno = ["b"]\nuser = "Is it there?"\n[verifier]', "exactly once"),
        ('yes = ["a"]\nno = ["b"]\nimage_px = [0, 8]\n[verifier]', "image_px"),
        ('yes = ["a"]\nno = ["b"]\nlead_tokens = 0\n[verifier]', "lead_tokens"),
        ('yes = ["a"]\nno = ["b"]\nleads = "x"\n[verifier]', "did you mean 'lead'"),
    ],
)
def test_wrong_gates_are_refused(tmp_path: Path, new: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_profile(changed(tmp_path, GATE, new))


def test_the_query_of_a_look_is_its_own_or_the_profiles() -> None:
    think2seg = load_profile("think2seg")
    embedded = load_profile("embedded")
    assert embedded.gate is not None
    assert embedded.user_text("pools", embedded.gate) == "Find: pools"
    assert think2seg.gate is not None
    assert think2seg.user_text("pools", think2seg.gate).startswith(
        'Is anything in this aerial image an answer to "pools"?'
    )
    assert think2seg.user_text("pools") != think2seg.user_text("pools", think2seg.gate)
    assert load_profile("embedded-box").gate is None


def test_the_largest_image_is_that_of_any_look() -> None:
    """By hand: the widest of one look and the highest of another."""
    profile = load_profile("embedded")
    assert profile.gate is not None
    assert profile.verifier is not None
    wide = replace(profile.gate, image_px=(900, 100))
    high = replace(profile.verifier, image_px=(20, 700))
    own = replace(profile, image_px=(252, 252), gate=None, verifier=None)
    assert own.largest_image_px == (252, 252)
    assert replace(own, gate=wide, verifier=high).largest_image_px == (900, 700)
    assert replace(own, gate=replace(wide, image_px=None)).largest_image_px == (252, 252)


def test_missing_profile_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="readable TOML"):
        load_profile(str(tmp_path / "none.toml"))
