from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.assess.review_labels import UnitAnswer, read_answers
from pipeline.errors import InputError

KINDS = {"abc-0o00000": "object", "abc-0c00000": "cell", "abc-0p00000": "point"}


def read(path: Path) -> dict[str, UnitAnswer]:
    return dict(read_answers(path, KINDS, design_id="abc").answers)


def saved(path: Path, labels: object, **more: object) -> Path:
    path.write_text(json.dumps({"terraquery_labels": 1, "design_id": "abc", "labels": labels, **more}))
    return path


def test_a_file_of_the_page_is_read(tmp_path: Path) -> None:
    labels = {
        "abc-0o00000": {"label": "yes"},
        "abc-0c00000": {"label": "missed", "n_missed": 2},
        "abc-0p00000": {"label": "unsure"},
    }
    path = saved(tmp_path / "labels.json", labels, reviewer="Ada")
    given = read_answers(path, KINDS, design_id="abc")
    assert given.reviewer == "Ada"
    assert given.answers == {
        "abc-0o00000": UnitAnswer(label="yes"),
        "abc-0c00000": UnitAnswer(label="no", n_missed=2),
        "abc-0p00000": UnitAnswer(label="unsure"),
    }


@pytest.mark.parametrize("mark", [",", ";"])
def test_a_csv_is_read_as_people_fill_it_in(tmp_path: Path, mark: str) -> None:
    lines = [
        "unit_id,stratum,label,n_missed",
        "abc-0o00000,s, No ,",
        "abc-0c00000,s,,3",
        "abc-0p00000,s,,",
    ]
    path = tmp_path / "labels.csv"
    path.write_text("\ufeff" + "\r\n".join(lines).replace(",", mark))
    assert read(path) == {
        "abc-0o00000": UnitAnswer(label="no"),
        "abc-0c00000": UnitAnswer(label="no", n_missed=3),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("unit_id,label\nabc-0o00009,yes\n", "picked by hand"),
        ("unit_id,label\nfff-0o00000,yes\n", "of sample fff"),
        ("unit_id,label\nabc-0o00000,yes\nabc-0o00000,no\n", "two different"),
        ("unit_id,label\nabc-0o00000,maybe\n", "yes, no, unsure"),
        ("unit_id,label\nabc-0c00000,yes\n", "no, missed, unsure"),
        ("unit_id,label,n_missed\nabc-0c00000,missed,0\n", "'0' with missed"),
        ("unit_id,label,n_missed\nabc-0c00000,no,2\n", "'2' with no"),
        ("unit_id,label,n_missed\nabc-0c00000,missed,1.5\n", "n_missed must be"),
        ("unit_id,label,n_missed\nabc-0c00000,missed,nan\n", "n_missed must be"),
        ("unit_id,label\n", "none in"),
        ("unit,label\n", "no unit_id"),
        ("{", "must be answers"),
        ("{}", "must be answers"),
        ('{"terraquery_labels": 1, "design_id": "fff", "labels": {}}', "answers to sample 'fff'"),
        ('{"terraquery_labels": 1, "design_id": "abc", "labels": {}}', "none in"),
        ('{"terraquery_labels": 1, "design_id": "abc", "labels": [1]}', "must be answers"),
    ],
)
def test_what_answers_no_drawn_unit_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "labels"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read(path)
