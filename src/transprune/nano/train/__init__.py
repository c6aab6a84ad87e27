"""How the bundled model is trained: scenes to finished checkpoint on two CPU cores, resumable at any moment."""
