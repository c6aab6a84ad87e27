"""The methods, one file each. Importing this package registers them all."""

from transprune.methods.base import LayerPruner, Method, ProjectorPruner
from transprune.methods.compose import Compose
from transprune.methods.divprune import DivPrune
from transprune.methods.fastv import FastV
from transprune.methods.pdrop import PDrop
from transprune.methods.random import Random
from transprune.methods.transprune import TransPrune
from transprune.methods.uniform import Uniform
from transprune.methods.visionzip import VisionZip

__all__ = [
    "Compose",
    "DivPrune",
    "FastV",
    "LayerPruner",
    "Method",
    "PDrop",
    "ProjectorPruner",
    "Random",
    "TransPrune",
    "Uniform",
    "VisionZip",
]
