// What each stage kept, as a slider over the picture: dropped patches are dark.

import { byId, make, makeSvg, percent } from "./dom.js";

/** The picture with its stages. `onStage` is called with the number of stages passed. */
export class Kept {
  constructor(onStage) {
    this.onStage = onStage;
    this.url = "";
    byId("stage").addEventListener("input", () => this.#show());
  }

  /** Show the stages of an answer over its picture, a Blob. */
  use(kept, picture, visualTokens) {
    URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(picture);
    this.stages = kept.stages;
    // without a stage there is no place to know
    this.picture = kept.pictures[0] ?? { visual_tokens: visualTokens, kept: [] };
    this.cells = this.#cells();
    byId("kept").replaceChildren(...this.#draw());

    const slider = byId("stage");
    slider.max = this.stages.length;
    slider.value = this.stages.length;
    slider.disabled = this.stages.length === 0;
    byId("kept-note").textContent = this.#note();
    this.#show();
  }

  /** Rows and columns of the drawing, and how many tokens it shows. */
  #cells() {
    const { rows, columns, visual_tokens: tokens } = this.picture;
    if (rows) {
      return { rows, columns, count: rows * columns };
    }
    const across = Math.ceil(Math.sqrt(tokens)) || 1;
    return { rows: Math.ceil(tokens / across) || 1, columns: across, count: tokens };
  }

  #draw() {
    const { rows, columns } = this.cells;
    const place = byId("kept");
    this.dropped = makeSvg("path", { class: "dropped" });
    this.stayed = makeSvg("path", { class: "stayed" });
    const view = { viewBox: `0 0 ${columns} ${rows}`, preserveAspectRatio: "none" };

    // where it is not known which place a token has, they are cells in the order of the prompt
    place.classList.toggle("placeless", !this.picture.rows);
    if (!this.picture.rows) {
      place.style.aspectRatio = `${columns} / ${rows}`;
      return [makeSvg("svg", view, this.stayed, this.dropped)];
    }

    const image = make("img", { src: this.url, alt: "" });
    image.addEventListener("load", () => {
      // small pictures keep their hard pixels, as the model gets them
      image.classList.toggle("small", place.clientWidth >= 2 * image.naturalWidth);
    });
    // the model sees the middle of it, or all of it squeezed into the grid
    image.style.objectFit = this.picture.cropped ? "cover" : "fill";
    place.style.aspectRatio = `${columns} / ${rows}`;
    return [image, makeSvg("svg", view, this.dropped)];
  }

  #show() {
    const stage = Number(byId("stage").value);
    const { visual_tokens: total, kept } = this.picture;
    const own = stage ? kept[stage - 1] : Array.from({ length: total }, (_, token) => token);

    const stayed = new Set(own);
    const gone = Array.from({ length: this.cells.count }, (_, token) => token);
    this.dropped.setAttribute("d", this.#path(gone.filter((token) => !stayed.has(token))));
    this.stayed.setAttribute("d", this.#path(own));

    const words = this.#words(stage, own.length, total);
    byId("stage-shown").textContent = words;
    byId("stage").setAttribute("aria-valuetext", words);
    byId("kept").setAttribute("aria-label", `The picture, ${words}`);
    this.onStage(stage);
  }

  /** Squares of tokens as one path. */
  #path(tokens) {
    const { rows, columns, count } = this.cells;
    const squares = [];
    for (const token of tokens) {
      // tokens behind the grid have no place in the picture
      if (token < count) {
        const x = token % columns;
        const y = Math.floor(token / columns);
        // beyond the edge, which may lie within a pixel
        const wide = x === columns - 1 ? 2 : 1;
        const high = y === rows - 1 ? 2 : 1;
        squares.push(`M${x} ${y}h${wide}v${high}h-${wide}z`);
      }
    }
    return squares.join("");
  }

  #words(stage, left, total) {
    const counts = `${left} of ${total} tokens (${percent(left / total)})`;
    if (stage === 0) {
      return `before any stage: all ${total} tokens`;
    }
    const { boundary } = this.stages[stage - 1];
    const where = boundary ? `from layer ${boundary} on` : "in front of the language model";
    return `${where}: ${counts}`;
  }

  #note() {
    if (!this.stages.length) {
      return "This method dropped no token of this picture.";
    }
    if (!this.picture.rows) {
      return "It is not known where the tokens of this model lie, so they are drawn in the order of the prompt.";
    }
    const { rows, columns } = this.cells;
    const without = this.picture.visual_tokens - this.cells.count;
    const more = without ? ` ${without} further tokens, of tiles, have no place in it.` : "";
    return `${rows} × ${columns} tokens; dark ones are dropped.${more}`;
  }
}
