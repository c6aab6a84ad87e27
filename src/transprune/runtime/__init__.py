"""The only folder that registers hooks: how a method meets a model, one forward at a time."""
