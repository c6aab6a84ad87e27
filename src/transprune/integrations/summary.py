"""What a run of many prompts cost, as a few numbers for the results of another tool."""

from __future__ import annotations

from collections import defaultdict

from transprune.integrations.batches import Answers


class Summary:
    """Sums over all batches of a run, and means over its prompts."""

    def __init__(self) -> None:
        self.prompts = 0
        self.new_tokens = 0
        self.seconds = 0.0
        self._prefill_seconds = 0.0
        self._sums: dict[str, float] = defaultdict(float)

    def add(self, answers: Answers) -> None:
        """Count one batch."""
        self.prompts += len(answers.texts)
        self.new_tokens += sum(answers.new_tokens)
        self.seconds += answers.total
        self._prefill_seconds += answers.first_token
        if answers.trace is None:
            return

        trace = answers.trace
        for sample in range(len(answers.texts)):
            # both conventions: shares of the paper's tables are of visual tokens only
            exact = trace.sample_cost(sample, "exact")
            paper = trace.sample_cost(sample, "paper")
            self._sums["exact_prefill_flops"] += exact.prefill
            self._sums["exact_prefill_share"] += exact.prefill_share
            self._sums["paper_prefill_macs"] += paper.prefill
            self._sums["paper_prefill_share"] += paper.prefill_share
            self._sums["kv_bytes"] += exact.kv_bytes
            self._sums["kv_share"] += exact.kv_share
            for layer, count in enumerate(trace.tokens_per_layer(sample)):
                self._sums[f"visual_tokens_layer_{layer:02}"] += count

    def numbers(self) -> dict[str, float]:
        """Means over prompts, and seconds of prefill and decoding in all."""
        means = {name: total / self.prompts for name, total in self._sums.items()}
        return {
            **means,
            "prefill_seconds": self._prefill_seconds,
            "decode_seconds": self.seconds - self._prefill_seconds,
        }
