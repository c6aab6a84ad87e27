"""How a picture was cut for the vision tower, as far as a family knows."""

from __future__ import annotations

WHOLE = 0  # one tower input; the frames of a video, each by itself
IN_LINES = 1  # a view of the whole, then lines through all tiles, each ended by a newline token
UNKNOWN = 2  # perhaps a tile of a picture; nothing tells which

# From here on: images of one number are the tiles of one picture, line by line, and a view of the
# whole behind them; how many are side by side only their pixels tell.
IN_A_ROW = 3
