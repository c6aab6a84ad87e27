"""The endpoint under load and under hostile requests."""
