"""The pictures of a request: from untrusted bytes to 8-bit RGB, or a refusal.

Everything is read from memory. The header is checked before a pixel is decoded, only four formats
are opened, and a file must end where its picture ends.
"""

from __future__ import annotations

import base64
import binascii
import re
from io import BytesIO

from PIL import Image

from transprune.errors import ImageError
from transprune.models.headers import read_header
from transprune.models.images import decode_image
from transprune.serve.ends import end_of
from transprune.serve.limits import Limits
from transprune.serve.refusal import Refusal

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")  # those of OpenAI's API

_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,32}(;charset=[a-z0-9-]{1,16})?;base64,", re.I)


def decode_data_url(url: str, param: str) -> bytes:
    """The bytes in a `data:image/...;base64,...` URL.

    Raises:
        Refusal: another media type or encoding, or damaged base64.
    """
    found = _DATA_URL.match(url)
    if found is None:
        raise Refusal(
            "a picture is a data URL of an image in base64, as data:image/png;base64,...",
            param=param,
            code="invalid_image_url",
        )

    try:
        return base64.b64decode(url[found.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(
            "the data URL holds damaged base64", param=param, code="invalid_base64"
        ) from None


def read_picture(data: bytes, param: str, limits: Limits) -> Image.Image:
    """The picture in the bytes of a file, 8-bit RGB.

    Raises:
        Refusal: another format, too many pixels, several frames, damaged, cut short, or something
            else behind the picture.
    """
    try:
        form = _check_header(data, limits)
        # a file may be a picture and a script at once
        if data[end_of(data, form) :].strip(b"\0"):
            raise ValueError("something else follows the picture in the same file")
        return decode_image(BytesIO(data), "the picture")
    except (ImageError, ValueError) as error:
        message = (
            str(error) if isinstance(error, ImageError) else f"the picture is refused: {error}"
        )
        raise Refusal(message, param=param, code="invalid_image") from None


def _check_header(data: bytes, limits: Limits) -> str:
    """The format of a file, if its header is one that is accepted; no pixel is decoded."""
    header = read_header(data, FORMATS, limits.pixels, limits.aspect)
    if header.frames != 1:
        raise ValueError(f"it has {header.frames} frames; send one as a picture of its own")
    return header.form
