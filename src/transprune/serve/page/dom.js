// Elements of the page. Text becomes text, never HTML: it may be a model's or a file's name.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** A new element with properties and children; a child may be a text. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

/** A new SVG element with attributes. */
export function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const JOINED = "\u00a0"; // a space between number and unit, at which no line ends

/** `58 %`, with one digit behind the point below 10. */
export function percent(share) {
  const value = 100 * share;
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)}${JOINED}%`;
}

/** `5 %` of a whole number of percents. */
export function points(value) {
  return `${value}${JOINED}%`;
}

/** `12 ms`, or seconds from one on. */
export function duration(seconds) {
  if (seconds >= 1) {
    return `${seconds.toFixed(seconds < 10 ? 2 : 1)}${JOINED}s`;
  }
  const milliseconds = 1000 * seconds;
  return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)}${JOINED}ms`;
}
