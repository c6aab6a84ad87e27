"""Questions about pictures that are far larger than what a model reads.

    from transprune.tiles import find_tiles

    found = find_tiles(checkpoint, "huge.tif", question)
    answer = ask(checkpoint, prepare(checkpoint, found.pictures, question), "transprune-high")

`pyramid` and `choice` are plain arithmetic, `picture` reads parts of a file, `scorer` and `look`
run the model, and `search` puts them together. docs/tiles.md explains it.
"""

from transprune.tiles.picture import LargePicture as LargePicture
from transprune.tiles.result import TileSearch as TileSearch
from transprune.tiles.search import find_tiles as find_tiles
from transprune.tiles.settings import Scorer as Scorer
from transprune.tiles.settings import Tiles as Tiles
