"""Videos: which frames are taken, how a file is decoded, and how frames become arrays."""
