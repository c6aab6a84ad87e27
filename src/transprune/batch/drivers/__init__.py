"""What runs the shards of a job: this process, or the actors of Ray Data."""
