"""The widget for notebooks."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pg2lib.user_study import Protocol, Session, Study, results
from tests.user_study.conftest import make, pixels


@pytest.fixture
def new_widget(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes widgets without a pause between the images."""
    pytest.importorskip("ipywidgets", reason="the widget needs ipywidgets: pip install 'pg2lib[notebooks]'")
    from pg2lib.user_study import widget

    monkeypatch.setattr(widget, "PAUSE_S", 0.0)
    return widget.RaterWidget


@pytest.fixture
def quick(tmp_path: Path) -> Study:
    return make(tmp_path, Protocol(real=4, generated=4, practice=2, exposure_s=0.02))


def answers(study: Study) -> list[Any]:
    with study.database() as database:
        return database.execute("SELECT * FROM answers ORDER BY position").fetchall()


def test_the_widget_takes_a_rater_through_a_session(quick: Study, new_widget: Callable[..., Any]) -> None:
    study = quick
    rater = new_widget(study, "anna")
    rater.real.click()
    assert study.raters() == (), "nothing is stored before the start"
    shown: list[bytes] = []
    rater.picture.observe(lambda change: shown.append(change["new"]), "value")
    rater.start.click()
    for position in range(5):
        assert rater.real.disabled is rater.generated.disabled is False and rater.start.disabled
        assert ("Practice" in rater.words.value) == (position < 2)
        (rater.real if position % 2 else rater.generated).click()

    again = new_widget(study, "anna")  # another day
    again.picture.observe(lambda change: shown.append(change["new"]), "value")
    again.start.click()
    for _ in range(3):
        again.real.click()
    assert "Done" in again.words.value and again.start.disabled and again.real.disabled
    again.real.click()

    session = study.session("anna", "one")
    assert session.finished
    rows = answers(study)
    assert [row["says_real"] for row in rows] == [0, 1, 0, 1, 0, 1, 1, 1]
    assert all(row["exposure_ms"] >= 20 for row in rows)
    seen = [np.asarray(Image.open(io.BytesIO(png))) for png in shown[::2]]
    factor = seen[0].shape[0] // 12
    positions = [0, 1, 2, 3, 4, 5, 5, 6, 7]  # the sixth was on the screen when the rater broke off
    for position, picture in zip(positions, seen, strict=True):
        assert np.array_equal(picture[::factor, ::factor], pixels(session.image_path(position))), position
    assert len(set(shown[1::2])) == 1, "and between them the same grey"
    assert results(study, tolerance=(1.0, math.inf)).models["one"].raters == 1


def test_an_answer_in_the_widget_counts_for_the_image_it_showed(quick: Study, new_widget: Callable[..., Any]) -> None:
    """One rater in two notebooks: the second has answered what both show."""
    first, second = new_widget(quick, "anna"), new_widget(quick, "anna")
    first.start.click()
    second.start.click()
    second.real.click()
    first.generated.click()
    assert [(row["position"], row["says_real"]) for row in answers(quick)] == [(0, 1)]
    assert "position 0 already has another answer" in first.words.value
    assert first.real.disabled and first.generated.disabled and not first.start.disabled

    first.start.click()
    assert "Practice 2 of 2" in first.words.value
    first.generated.click()
    assert [(row["position"], row["says_real"]) for row in answers(quick)] == [(0, 1), (1, 0)]


def test_the_widget_says_what_a_session_stops_at_and_goes_on(quick: Study, new_widget: Callable[..., Any]) -> None:
    nobody = new_widget(quick, "<b>")
    nobody.start.click()
    assert "rater name '&lt;b&gt;'" in nobody.words.value

    rater = new_widget(quick, "anna")
    path = quick.image_path(quick.session("anna", "one").images[1])
    away = path.rename(path.with_suffix(".away"))
    rater.start.click()
    rater.real.click()
    assert path.name in rater.words.value and rater.real.disabled and not rater.start.disabled
    away.rename(path)
    rater.start.click()
    rater.real.click()
    assert [row["says_real"] for row in answers(quick)] == [1, 1]


def test_clicks_too_many_do_nothing_in_the_widget(
    quick: Study, new_widget: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rater = new_widget(quick, "anna")
    rater.start.click()
    rater.start.click()
    store = Session.answer
    given: list[int] = []

    def answer_while_clicked(session: Session, position: int, *values: Any) -> int:
        given.append(position)
        if len(given) == 1:
            rater.generated.click()
        return store(session, position, *values)

    monkeypatch.setattr(Session, "answer", answer_while_clicked)
    rater.real.click()
    assert given == [0]
    assert [(row["says_real"], row["showings"]) for row in answers(quick)] == [(1, 1)]
