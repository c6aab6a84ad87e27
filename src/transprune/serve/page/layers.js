// Visual tokens that enter each decoder layer, beside those of the unpruned model.

import { byId, make } from "./dom.js";

/** The bars of an answer, one for each layer. */
export class Layers {
  constructor() {
    this.bars = [];
    this.stages = [];
  }

  /** Draw them. */
  use(kept, visualTokens) {
    const { tokens_per_layer: tokens, cached_per_layer: cached, stages } = kept;
    this.stages = stages;
    this.bars = tokens.map((count, layer) => bar(count, cached[layer], visualTokens, layer));
    byId("layers").replaceChildren(...this.bars);
    byId("last-layer").textContent = `layer ${tokens.length - 1}`;

    byId("layers").setAttribute("aria-label", describe(tokens, visualTokens));
    const evicts = cached.some((count, layer) => count < tokens[layer]);
    const more = evicts ? " The line: keys that stay in the cache behind the prompt." : "";
    byId("layers-legend").textContent =
      `The unpruned model has ${visualTokens} in every layer.${more}`;
  }

  /** Mark the layers that run with what is left behind so many stages. */
  mark(stage) {
    const from = stage ? this.stages[stage - 1].boundary : 0;
    const next = this.stages[stage]?.boundary ?? this.bars.length;
    this.bars.forEach((bar, layer) => bar.classList.toggle("now", from <= layer && layer < next));
  }
}

function bar(count, cached, total, layer) {
  const fill = make("span", { className: "fill" });
  fill.style.height = `${(100 * count) / total}%`;
  const column = make("span", { className: "bar", title: `layer ${layer}: ${count}` }, fill);
  if (cached < count) {
    const line = make("span", { className: "cached" });
    line.style.height = `${(100 * cached) / total}%`;
    column.append(line);
  }
  return column;
}

/** `layers 0 to 3: 144 tokens; layers 4 to 7: 72 tokens`. */
function describe(tokens, total) {
  const runs = [];
  tokens.forEach((count, layer) => {
    if (runs.at(-1)?.count === count) {
      runs.at(-1).last = layer;
    } else {
      runs.push({ count, first: layer, last: layer });
    }
  });

  const words = runs.map(({ count, first, last }) => {
    const where = first === last ? `layer ${first}` : `layers ${first} to ${last}`;
    return `${where}: ${count}`;
  });
  return `Visual tokens, of ${total}, that enter each layer. ${words.join("; ")}.`;
}
