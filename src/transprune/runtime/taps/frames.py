"""Which frame each visual token belongs to, for methods that compare the frames of a video."""

from __future__ import annotations

import numpy as np

from transprune.core.frames import Frames
from transprune.core.prompt import Numbers
from transprune.runtime.forward_pass import Pass
from transprune.runtime.host import to_host
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.taps.base import PoolRows, Setup, Signals, Tap

SIGNAL = "frames"


class FrameTap(Tap):
    """Reads the frames from the table of the prompt; needs no hook."""

    @classmethod
    def needed(cls, setup: Setup) -> FrameTap | None:
        """If some part of the method announces it."""
        announced = any(SIGNAL in step.reads.signals for step in setup.method.steps)
        return cls() if announced else None

    def offer(self, state: Pass, call: LayerCall, signals: Signals) -> None:
        """At every boundary."""
        signals[SIGNAL] = frames_of


def frames_of(pool: PoolRows) -> Frames:
    """Clip, frame and place of each token of a pool."""
    prompt = pool.layout.prompt
    clip = prompt.clip_of_token(pool.sample)
    frame = prompt.frame_of_token(pool.sample)
    place = _places(frame)

    tokens = _tokens(pool)
    clips = np.unique(clip[tokens])
    frames = np.unique(frame[np.isin(clip, clips)])
    whole = bool(np.isin(frames, frame[tokens]).all())
    return Frames(clip[tokens], frame[tokens], place[tokens], whole)


def _places(frame: Numbers) -> Numbers:
    """Number of each token within its frame. [N]."""
    order = frame.argsort(kind="stable")
    grouped = frame[order]
    place = np.empty_like(frame)
    place[order] = np.arange(len(frame)) - np.searchsorted(grouped, grouped)
    return place


def _tokens(pool: PoolRows) -> Numbers:
    """Numbers of the pool's tokens within the sample; waits for the device behind a stage."""
    layout = pool.layout
    prompt = layout.prompt
    if not layout.whole:
        (tokens,) = to_host([layout.token[pool.sample, pool.rows]])
        return tokens

    image = prompt.image[pool.sample][prompt.visual[pool.sample]]
    if pool.image < 0:
        return np.arange(len(image))
    return (image == pool.image).nonzero()[0]
