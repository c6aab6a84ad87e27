// The page: ask the same question twice, unpruned and pruned, and compare.

import { ApiError, ask, keepToken, readExamples, readOffer } from "./api.js";
import { Choices } from "./choices.js";
import { byId, make } from "./dom.js";
import { Picture, PictureError, toDataUrl } from "./picture.js";
import { Results, SIDES } from "./results.js";
import { ROUNDS } from "./times.js";

const LONGEST = 256; // tokens of an answer

const page = { offer: null, choices: null, picture: null, example: null, running: null };
const results = new Results();

async function start() {
  clearError();
  byId("token-form").hidden = true;
  try {
    const offer = await readOffer();
    byId("token").value = "";
    // a token may also be asked for later, when all of it is there
    if (page.offer === null) {
      await build(offer, await readExamples());
    }
  } catch (error) {
    showError(error);
  }
}

async function build(offer, examples) {
  if (!offer.methods.length) {
    throw new ApiError("This server offers no method that could be compared.");
  }
  page.offer = offer;
  page.choices = new Choices(offer);
  page.picture = new Picture(examples, offer.limits, useExample, showError);
  byId("model").textContent = offer.model;
  byId("question").maxLength = offer.limits.text_chars;
  await page.picture.useExample(examples[0], 0);
  for (const part of ["ask", "answers", "guide"]) {
    byId(part).hidden = false;
  }
}

/** Offer the questions of an example; a picture of one's own has none. */
function useExample(example) {
  page.example = example;
  const chips = (example?.questions ?? []).map(({ question }) => {
    const button = make("button", { type: "button" }, question);
    button.addEventListener("click", () => {
      byId("question").value = question;
    });
    return make("li", {}, button);
  });
  byId("questions").replaceChildren(...chips);
  // a question about another example would have no right answer here
  if (chips.length) {
    byId("question").value = example.questions[0].question;
  }
}

/** The right answer, of an example's own question. */
function rightAnswer(question) {
  return page.example?.questions.find((known) => known.question === question)?.answer ?? null;
}

async function askBoth() {
  const running = new AbortController();
  setRunning(running);
  clearError();

  // another picture may be chosen while it runs
  const picture = page.picture.blob;
  const question = byId("question").value.trim();
  const titles = { unpruned: "the unpruned model", pruned: page.choices.title };
  const fields = { unpruned: { pruning: "unpruned" }, pruned: page.choices.fields };
  const right = rightAnswer(question);
  results.begin(page.choices.title);
  say("Reading the picture …");
  byId("results").scrollIntoView({ block: "nearest" }); // on a phone they are below the form

  try {
    const messages = await makeMessages(picture, question);
    for (const side of SIDES) {
      say(`Asking ${titles[side]} …`);
      const answer = await ask(makeRequest(messages, fields[side]), listeners(side, running.signal));
      results.finish(side, answer);
    }
    results.compare(picture, right);
    await askAgain(messages, fields, running.signal);
    const { unpruned, pruned } = results.answers;
    say(`Done. Unpruned: ${unpruned.text}. Pruned: ${pruned.text}.`);
  } catch (error) {
    SIDES.filter((name) => !(name in results.answers)).forEach((name) => results.fail(name));
    say("");
    showError(error);
  } finally {
    setRunning(null);
  }
}

/** Time answers that were quick once more: a single run says little. */
async function askAgain(messages, fields, signal) {
  for (let round = 2; round <= ROUNDS && results.times.quick; round++) {
    say(`Measuring the times, run ${round} of ${ROUNDS} …`);
    for (const side of SIDES) {
      const options = { ...listeners(side, signal), onText: () => {} };
      results.again(side, await ask(makeRequest(messages, fields[side]), options));
    }
  }
}

function listeners(side, signal) {
  return {
    signal,
    onText: (text) => results.grow(side, text),
    onWait: (seconds) => say(`The server is busy; the next try is in ${seconds} s …`),
  };
}

async function makeMessages(picture, question) {
  const url = await toDataUrl(picture);
  const content = [
    { type: "image_url", image_url: { url } },
    { type: "text", text: question },
  ];
  return [{ role: "user", content }];
}

/** Both sides compute everything anew, so that their times can be compared. */
function makeRequest(messages, fields) {
  return {
    model: page.offer.model,
    messages,
    max_completion_tokens: Math.min(LONGEST, page.offer.limits.new_tokens),
    pruning_trace: true,
    reuse: false,
    ...fields,
  };
}

/** While it runs, the button stops it. */
function setRunning(controller) {
  page.running = controller;
  byId("go").textContent = controller ? "Stop" : "Ask both";
  byId("results").setAttribute("aria-busy", String(controller !== null));
}

function say(words) {
  byId("status").textContent = words;
}

function clearError() {
  byId("error").replaceChildren();
}

function showError(error) {
  if (error.name === "AbortError") {
    say("Stopped.");
    return;
  }
  if (error.status === 401) {
    askForToken();
    return;
  }
  // anything else is a mistake of this page, and belongs to the console as well
  const known = error instanceof ApiError || error instanceof PictureError;
  if (!known) {
    console.error(error);
  }
  byId("error").replaceChildren(known ? error.message : `The page failed: ${error.message}`);
  byId("error").scrollIntoView({ block: "nearest" });
}

function askForToken() {
  const refused = !byId("token-form").hidden || byId("token").value !== "";
  byId("token-form").hidden = false;
  byId("token").focus();
  if (refused) {
    byId("error").replaceChildren("The server does not know this token.");
  }
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(byId("token").value.trim());
  start();
});

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (page.running) {
    page.running.abort();
  } else if (page.picture) {
    askBoth();
  }
});

// Enter asks, as in other chats; with Shift it begins a line
byId("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    // while it runs, the same would stop it
    if (!page.running) {
      byId("ask").requestSubmit();
    }
  }
});

start();
