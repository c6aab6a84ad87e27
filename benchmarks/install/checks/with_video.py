"""A film is written and read."""

import av
import numpy as np

from transprune.models.clips import open_clip

with av.open("film.mp4", "w") as film:
    stream = film.add_stream("mpeg4", rate=10)
    stream.width = stream.height = 64
    for number in range(20):
        pixels = np.full((64, 64, 3), 10 * number, dtype=np.uint8)
        film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
    film.mux(stream.encode())

assert len(open_clip("film.mp4", 4).frames) == 4
