// The two answers, what they took, and what stayed.

import { byId, duration, make, percent } from "./dom.js";
import { Kept } from "./kept.js";
import { Layers } from "./layers.js";
import { Times } from "./times.js";

export const SIDES = ["unpruned", "pruned"];

/** The part of the page behind the form. */
export class Results {
  constructor() {
    this.layers = new Layers();
    this.kept = new Kept((stage) => this.layers.mark(stage));
    this.answers = {};
    this.times = new Times(SIDES);
  }

  /** Forget the last answers. `title` names method and budget. */
  begin(title) {
    this.answers = {};
    this.times = new Times(SIDES);
    byId("pruned-title").textContent = title;
    byId("verdict").textContent = "";
    byId("details").hidden = true;
    byId("guide").hidden = true;
    for (const side of SIDES) {
      this.#write(side, "waiting", true);
      byId(`${side}-figures`).textContent = "";
    }
  }

  /** Show a text that may still grow. */
  grow(side, text) {
    this.#write(side, text || "…", false);
  }

  /** Say that one side has no answer. */
  fail(side) {
    this.#write(side, "no answer", true);
  }

  /** Show a whole answer. */
  finish(side, answer) {
    this.answers[side] = answer;
    this.#write(side, answer.text || "(empty)", false);
    this.#time(side, answer);
  }

  /** Count the time of another run with the same answer. */
  again(side, answer) {
    this.#time(side, answer);
    this.#tabulate();
  }

  /**
   * Compare the answers once both are there.
   *
   * `picture` is the Blob they are about, `right` the answer of an example, or null.
   */
  compare(picture, right) {
    const { unpruned, pruned } = this.answers;
    const visualTokens = pruned.usage.pruning.visual_tokens_before;
    byId("verdict").textContent = verdict(unpruned.text, pruned.text, right);
    byId("details").hidden = false;
    this.layers.use(pruned.kept, visualTokens);
    this.kept.use(pruned.kept, picture, visualTokens);
    this.#tabulate();
  }

  #write(side, text, empty) {
    const place = byId(`${side}-answer`);
    place.textContent = text;
    place.classList.toggle("empty", empty);
  }

  #time(side, answer) {
    this.times.add(side, answer);
    const { visual_tokens_before: all, visual_tokens_after: left } = answer.usage.pruning;
    const tokens = left === all ? `All ${all} visual tokens` : `${left} of ${all} visual tokens`;
    const after = duration(this.times.of(side).first);
    byId(`${side}-figures`).textContent = `${tokens} at the end; first token after ${after}`;
  }

  #tabulate() {
    const { pruned } = this.answers;
    const bill = pruned.usage.pruning;
    const full = this.times.of("unpruned");
    const less = this.times.of("pruned");
    const before = bill.visual_tokens_before;
    const after = bill.visual_tokens_after;

    const rows = [
      ["visual tokens, last layer", before, after, after / before],
      ["prefill work (FLOPs)", percent(1), percent(bill.prefill_flops_share), bill.prefill_flops_share],
      ["K/V cache of the prompt", percent(1), percent(pruned.kept.kv_share), pruned.kept.kv_share],
      ["time to the first token", duration(full.first), duration(less.first), less.first / full.first],
      ["time to the whole answer", duration(full.total), duration(less.total), less.total / full.total],
    ];
    byId("figures").replaceChildren(...rows.map(row));
    byId("figures-note").textContent = this.times.words;
    byId("notes").replaceChildren(...pruned.kept.notes.map((note) => make("li", {}, note)));
  }
}

function row([what, full, less, share]) {
  const cells = [full, less, percent(share)].map((text) => make("td", {}, String(text)));
  return make("tr", {}, make("th", { scope: "row" }, what), ...cells);
}

function verdict(unpruned, pruned, right) {
  const same = unpruned === pruned ? "Both answers are the same." : "The answers differ.";
  return right ? `${same} The right one is “${right}”.` : same;
}
