"""The questions, the metrics, and the files of a run: manifest and records."""
