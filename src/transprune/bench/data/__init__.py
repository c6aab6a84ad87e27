"""What a run is made of and what it leaves on disk: questions, manifest, records."""
