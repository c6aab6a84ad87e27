"""What makes the second test bed is there; the training itself needs the clone."""

import emoji
import gguf
import matplotlib
import skimage.data

assert emoji.EMOJI_DATA
assert gguf.GGUFReader
assert matplotlib.get_data_path()
assert skimage.data.astronaut().shape == (512, 512, 3)
