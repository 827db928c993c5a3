"""Calls of endpoints, checked before gradio, which answers a missing argument with a fault of the server."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any

from gradio.block_function import BlockFunction

from demo.limits import Refusal

CALL = re.compile(r"/gradio_api/(?:call/(?P<version>v2/)?(?P<name>[^/]+)|queue/join)/?")


def check_call(functions: Mapping[int, BlockFunction], path: str, content: bytes) -> None:
    """Check that a request names an endpoint and brings its arguments; what they are is for the endpoint to check.

    Args:
        functions: of the page, by number.
        path: of the request; one that is no call is not checked.
        content: the body.

    Raises:
        Refusal: it does not.
    """
    call = CALL.fullmatch(path)
    if call is None:
        return
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "The request is no JSON, or too deep.") from error
    if not isinstance(body, dict):
        raise Refusal(422, "Send a JSON object.")
    if call["name"] is None:
        index = body.get("fn_index")
        function = functions.get(index) if isinstance(index, int) else None
    else:
        function = next((each for each in functions.values() if each.api_name == call["name"]), None)
    if function is None:
        named = ", ".join(f"/{each.api_name}" for each in functions.values())
        raise Refusal(404, f"There is no such endpoint. There are {named}.")
    parameters = inspect.signature(function.fn).parameters if function.fn else {}
    if call["version"]:
        _check_names(body, parameters)
    elif not isinstance(body.get("data"), list) or len(body["data"]) != len(parameters):
        raise Refusal(422, f"data: expected a list of {len(parameters)}: {', '.join(parameters) or 'nothing'}")


def _check_names(given: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]) -> None:
    known = f"The arguments are {', '.join(parameters)}." if parameters else "It takes none."
    for name in given:
        if name not in parameters:
            raise Refusal(422, f"{name[:50]!a}: there is no such argument. {known}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in given:
            raise Refusal(422, f"{name}: this argument is missing. {known}")
