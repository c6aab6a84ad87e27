// The picture: an example, or a file that was chosen, dropped or pasted.

import { readPicture } from "./api.js";
import { byId, make } from "./dom.js";

const KINDS = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const AS_TEXT = 4 / 3; // base64 is so much longer
const MIB = 2 ** 20;

/** What can be said before anything is sent. */
export class PictureError extends Error {}

/** A picture as a data URL. */
export function toDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () =>
      reject(new PictureError("The file can no longer be read; choose it again.")),
    );
    reader.readAsDataURL(blob);
  });
}

/** The chosen picture. `onChange` is called with the example it is, or null for a file. */
export class Picture {
  constructor(examples, limits, onChange, onError) {
    this.limits = limits;
    this.onChange = onChange;
    this.onError = onError;
    this.blob = null;
    this.url = "";
    this.buttons = examples.map((example, index) => this.#button(example, index));
    byId("examples").replaceChildren(...this.buttons.map((button) => make("li", {}, button)));
    this.#listen();
  }

  /** Take an example. */
  async useExample(example, index) {
    const blob = await readPicture(example.picture);
    await this.#use(blob, `Example ${index + 1}`, example);
  }

  #button(example, index) {
    const alt = `Example ${index + 1}`;
    const image = make("img", { src: `page/${example.picture}`, alt, width: 56, height: 56 });
    const button = make("button", { type: "button", className: "thumb" }, image);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => this.#try(() => this.useExample(example, index)));
    button.example = example;
    return button;
  }

  #listen() {
    const file = byId("file");
    file.addEventListener("change", () => {
      const files = [...file.files];
      file.value = ""; // the same file may have changed, and be chosen again
      this.#useFiles(files);
    });

    const drop = byId("drop");
    drop.addEventListener("dragover", (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      this.#useFiles(event.dataTransfer.files);
    });
    document.addEventListener("paste", (event) => this.#useFiles(event.clipboardData.files));
  }

  #useFiles(files) {
    // a pasted text has no file
    if (files.length) {
      this.#try(() => this.#use(files[0], files[0].name, null));
    }
  }

  async #try(action) {
    try {
      await action();
    } catch (error) {
      this.onError(error);
    }
  }

  /** Show a picture, if it is one that the server can take. */
  async #use(blob, name, example) {
    const size = await this.#check(blob, name);
    URL.revokeObjectURL(this.url);
    this.blob = blob;
    this.url = URL.createObjectURL(blob);

    byId("chosen").src = this.url;
    byId("chosen").alt = name;
    byId("picture-name").textContent = `${name}, ${size.width} × ${size.height} pixels`;
    for (const button of this.buttons) {
      button.setAttribute("aria-pressed", String(button.example === example));
    }
    this.onChange(example);
  }

  async #check(blob, name) {
    if (!KINDS.includes(blob.type)) {
      throw new PictureError(`${name} is no PNG, JPEG, WebP or GIF file.`);
    }
    if (AS_TEXT * blob.size > this.limits.body_bytes) {
      const most = (this.limits.body_bytes / AS_TEXT / MIB).toFixed(0);
      const has = (blob.size / MIB).toFixed(1);
      throw new PictureError(`${name} has ${has} MiB; this server takes ${most}. Scale it down.`);
    }

    const bitmap = await createImageBitmap(blob).catch(() => {
      throw new PictureError(`${name} cannot be read as a picture; it may be damaged.`);
    });
    const { width, height } = bitmap;
    bitmap.close();
    if (width * height > this.limits.pixels) {
      const most = this.limits.pixels.toLocaleString("en");
      throw new PictureError(
        `${name} has ${width} × ${height} pixels; this server takes ${most} in all. Scale it down.`,
      );
    }
    return { width, height };
  }
}
