from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.segment.dual_route.dual_options import DualRouteOptions, check_dual


def test_the_published_settings_are_the_defaults() -> None:
    options = DualRouteOptions(clip="a/b", sam3="c/d")
    assert (options.top_k, options.tau, options.gamma, options.rules) == (5, 0.3, 0.01, "paper")
    assert options.models == {"clip": "a/b", "sam3": "c/d"}
    assert DualRouteOptions(clip="a/b", routes="a").models == {"clip": "a/b"}
    assert DualRouteOptions(sam3="c/d", routes="b").models == {"sam3": "c/d"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "route a needs a model"),
        ({"clip": "a/b"}, "route b needs a model"),
        ({"sam3": "c/d", "routes": "a"}, "route a needs a model"),
        ({"clip": "a/b", "sam3": "c/d", "top_k": 0}, "top_k"),
        ({"clip": "a/b", "sam3": "c/d", "tau": 1.5}, "shares"),
        ({"clip": "a/b", "sam3": "c/d", "gamma": -0.1}, "shares"),
    ],
)
def test_wrong_options(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DualRouteOptions(**given)  # type: ignore[arg-type]


def test_local_folders_are_looked_into_and_hub_ids_pass(tmp_path: Path) -> None:
    check_dual(DualRouteOptions(clip="openai/clip-vit-base-patch16", routes="a"))
    with pytest.raises(InputError, match=r"segmenter\.dual\.clip must be the folder"):
        check_dual(DualRouteOptions(clip=str(tmp_path), routes="a"))
    (tmp_path / "config.json").write_text('{"model_type": "sam3"}')
    check_dual(DualRouteOptions(sam3=str(tmp_path), routes="b"))
    with pytest.raises(InputError, match="of the type 'sam3'"):
        check_dual(DualRouteOptions(clip=str(tmp_path), routes="a"))
