// Method and budget. Until the slider is moved, a method runs with the settings it is offered with.

import { byId, make, percent, points } from "./dom.js";

const LOWEST = 5; // percent
const HIGHEST = 95;

/** The form's method and budget. */
export class Choices {
  constructor(offer) {
    this.methods = new Map(offer.methods.map((method) => [method.name, method]));
    this.own = true;

    const select = byId("method");
    select.replaceChildren(...offer.methods.map(({ name }) => make("option", { value: name }, name)));
    if (this.methods.has(offer.default)) {
      select.value = offer.default;
    }
    select.addEventListener("change", () => this.#show());

    byId("budget").addEventListener("input", () => {
      this.own = false;
      this.#show();
    });
    byId("own").addEventListener("click", () => {
      this.own = true;
      this.#show();
      byId("budget").focus(); // the button is gone
    });
    this.#show();
  }

  /** The chosen method. */
  get method() {
    return this.methods.get(byId("method").value);
  }

  /** Fields of a request. */
  get fields() {
    const fields = { pruning: this.method.name };
    if (!this.#isOwn) {
      fields.pruning_budget = Number(byId("budget").value) / 100;
    }
    return fields;
  }

  /** Method and budget for a heading. */
  get title() {
    const { pruning, pruning_budget: budget } = this.fields;
    return budget === undefined ? pruning : `${pruning} at ${points(Math.round(100 * budget))}`;
  }

  get #isOwn() {
    return this.own || this.method.lowest_budget === null;
  }

  #show() {
    const { title, prefill_flops_share: share, lowest_budget: lowest } = this.method;
    byId("method-about").textContent = title;

    const slider = byId("budget");
    slider.disabled = lowest === null;
    slider.min = Math.min(Math.max(LOWEST, Math.round(100 * (lowest ?? 0))), HIGHEST);
    if (this.#isOwn) {
      slider.value = Math.round(100 * share);
    }

    const own = `about ${percent(share)} of the work, as offered`;
    const words = this.#isOwn ? own : `${points(slider.value)} of the work`;
    byId("budget-shown").textContent = words;
    slider.setAttribute("aria-valuetext", words);
    byId("own").hidden = this.#isOwn;
  }
}
