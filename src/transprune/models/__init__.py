"""Load a checkpoint, prepare pictures and questions, generate answers, and calibrate ShortV."""
