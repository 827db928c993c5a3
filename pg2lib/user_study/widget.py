"""A widget with which a rater takes part in a user study in a notebook. It needs ipywidgets.

For studies with several raters use the web page, ``python demo/app.py --study DIR``. The widget measures exposures in
the kernel, so that they do not include the time of messages, decoding and drawing, and they are wrong over a slow
connection. It remembers which images were shown before only as long as it exists.
"""

from __future__ import annotations

import html
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from PIL import Image

from pg2lib.errors import DataError, PG2Error
from pg2lib.images import load_image
from pg2lib.user_study.study import Session, Study

if TYPE_CHECKING:
    import ipywidgets

SHOWN_HEIGHT_PX = 512
"""Images are enlarged, without smoothing, by the largest whole factor that does not exceed this height."""

PAUSE_S = 0.4
"""Time between an answer and the next image, in seconds."""

GREY = (119, 119, 119)


class RaterWidget:
    """Widget that shows a rater one image after another and stores the answers.

    Nothing happens before the start button is pressed. A session that was interrupted is resumed.

    Args:
        study: study to take part in.
        rater: name of the rater; by default a new one.

    Attributes:
        start: button that begins or resumes a session.
        real: button for the answer "real".
        generated: button for the answer "generated".
        picture: place of the images.
        words: place of the instructions.
        box: the whole widget.

    Raises:
        PG2Error: ipywidgets is not installed.
    """

    def __init__(self, study: Study, rater: str | None = None) -> None:
        try:
            import ipywidgets
        except ImportError as error:
            raise PG2Error("RaterWidget needs ipywidgets; install it with: pip install 'pg2lib[notebooks]'") from error
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
            f"<b>You will see {protocol.images} images for {protocol.exposure_s:g} s each.</b> After each of them, say "
            f"whether it was a real photo or a generated picture. The first {protocol.practice} are practice."
        )

    def _on_start(self, _: ipywidgets.Button) -> None:
        if self.start.disabled:
            return
        with self._showing_errors():
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
        with self._showing_errors():
            self.session.answer(self._position, says_real, self._exposure_ms, response_ms, showings)
            self._show_next()

    @contextmanager
    def _showing_errors(self) -> Iterator[None]:
        """Show errors to the rater, who can then continue; nobody sees what the callback of a button raises."""
        try:
            yield
        except (DataError, OSError) as error:
            reason = html.escape(str(error), quote=False)
            self.words.value = f"<b>Something went wrong:</b> {reason} Press <b>Continue</b> to try again."
            self.start.description = "Continue"
            self.start.disabled = False

    def _show_next(self) -> None:
        """Show the next image for the protocol's exposure, then enable the buttons for the answer."""
        self.start.disabled = self.real.disabled = self.generated.disabled = True
        if self.session is None or self.session.finished:
            self.words.value = "<b>Done. Thank you!</b> All your answers are stored."
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
        image = _enlarged_png(load_image(self.session.image_path(position)))
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
