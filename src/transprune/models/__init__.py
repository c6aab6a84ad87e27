"""A checkpoint, its pictures and its answers: everything between a folder on disk and a question answered."""
