"""A rater's session in a notebook, with ipywidgets. For a study among several people use the page of the app.

The image is timed where the kernel is, not in the browser: what lies between the two (a message, decoding, a frame of
the screen) is not measured, and over a slow connection one second is not one second. Whether an image was shown
before is known as long as the widget lives.
"""

from __future__ import annotations

import html
import io
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from PIL import Image

from pg2lib.errors import DataError, PG2Error
from pg2lib.user_study.study import Session, Study

if TYPE_CHECKING:
    import ipywidgets

SHOWN_HEIGHT_PX = 512
"""Images are enlarged by the whole factor that comes closest, without smoothing."""

PAUSE_S = 0.4
"""Between an answer and the next image."""

GREY = (119, 119, 119)


class RaterWidget:
    """Shows a rater one image after the other and stores what they say.

    It does nothing until its start button is pressed, and goes on where the rater broke off.

    Attributes:
        start, real, generated: the buttons.
        picture: where the images are shown.
        words: what the rater is told.
        box: all of them; the widget to display.
    """

    def __init__(self, study: Study, rater: str | None = None) -> None:
        """Lays out the widget.

        Args:
            rater: who rates; by default somebody new.

        Raises:
            PG2Error: ipywidgets is not installed.
        """
        try:
            import ipywidgets
        except ImportError as error:
            raise PG2Error("rating in a notebook needs ipywidgets: pip install 'pg2lib[notebooks]'") from error
        self.study, self.rater = study, rater or study.new_rater()
        self.session: Session | None = None
        self._blank = _enlarged_png(Image.new("RGB", (study.canvas[1], study.canvas[0]), GREY))
        self._showings: dict[tuple[str, int], int] = {}
        self._position = 0
        self._exposure_ms = self._blanked = 0.0
        self.words = ipywidgets.HTML(self._welcome())
        self.picture = ipywidgets.Image(value=self._blank, format="png")
        self.start = ipywidgets.Button(description="Start", button_style="primary")
        self.real = ipywidgets.Button(description="Real photo", disabled=True)
        self.generated = ipywidgets.Button(description="Generated", disabled=True)
        self.start.on_click(self._on_start)
        self.real.on_click(self._on_real)
        self.generated.on_click(self._on_generated)
        buttons = ipywidgets.HBox([self.start, self.real, self.generated])
        self.box: ipywidgets.VBox = ipywidgets.VBox([self.words, self.picture, buttons])

    def _repr_mimebundle_(self, **arguments: Any) -> Any:
        return self.box._repr_mimebundle_(**arguments)

    def _welcome(self) -> str:
        protocol = self.study.protocol
        return (
            f"<b>{protocol.images} images, {protocol.exposure_s:g} s each.</b> After each say whether it was a real "
            f"photo or a generated picture. The first {protocol.practice} are practice."
        )

    def _on_start(self, _: ipywidgets.Button) -> None:
        if self.start.disabled:
            return
        with self._saying_what_fails():
            self.session = self.study.next_session(self.rater)
            self._show_next()

    def _on_real(self, _: ipywidgets.Button) -> None:
        self._answer(says_real=True)

    def _on_generated(self, _: ipywidgets.Button) -> None:
        self._answer(says_real=False)

    def _answer(self, says_real: bool) -> None:
        if self.session is None or self.real.disabled:
            return
        self.real.disabled = self.generated.disabled = True
        response_ms = (time.perf_counter() - self._blanked) * 1000
        showings = self._showings[self.session.model, self._position]
        with self._saying_what_fails():
            self.session.answer(self._position, says_real, self._exposure_ms, response_ms, showings)
            self._show_next()

    @contextmanager
    def _saying_what_fails(self) -> Iterator[None]:
        """Tells the rater what a session stops at, and lets them go on: nobody sees what a button's callback raises."""
        try:
            yield
        except (DataError, OSError, sqlite3.Error) as error:
            reason = html.escape(str(error), quote=False)
            self.words.value = f"<b>This cannot go on:</b> {reason} <b>Go on</b> tries again."
            self.start.description = "Go on"
            self.start.disabled = False

    def _show_next(self) -> None:
        """The next image for the protocol's time, then the buttons."""
        self.start.disabled = self.real.disabled = self.generated.disabled = True
        if self.session is None or self.session.finished:
            self.words.value = "<b>Done, and thank you.</b> Every answer is stored."
            self.start.disabled = self.session is None or len(self.study.sessions_of(self.rater)) == len(
                self.study.models
            )
            self.start.description = "Another round"
            return
        self._position = position = self.session.answered
        practice = self.study.protocol.practice
        self.words.value = (
            f"<b>Practice {position + 1} of {practice}</b>"
            if position < practice
            else f"<b>Image {position + 1 - practice} of {len(self.session) - practice}</b>"
        )
        self._showings[self.session.model, position] = self._showings.get((self.session.model, position), 0) + 1
        image = _enlarged_png(Image.open(self.session.image_path(position)))
        time.sleep(PAUSE_S)
        shown = time.perf_counter()
        self.picture.value = image
        time.sleep(max(0.0, self.study.protocol.exposure_s - (time.perf_counter() - shown)))
        self.picture.value = self._blank
        self._blanked = time.perf_counter()
        self._exposure_ms = (self._blanked - shown) * 1000
        self.real.disabled = self.generated.disabled = False


def _enlarged_png(picture: Image.Image) -> bytes:
    factor = max(1, SHOWN_HEIGHT_PX // picture.height)
    buffer = io.BytesIO()
    picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()
