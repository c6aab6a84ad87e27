// Requests to this server: the token, errors as sentences, and streamed answers.

const KEY = "transprune-token";
const TRIES = 6; // of a request that the server is too busy for

/** Why there is no answer; `status` is that of HTTP, 0 without an answer. */
export class ApiError extends Error {
  constructor(message, status = 0, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Keep a token for this tab. */
export function keepToken(token) {
  sessionStorage.setItem(KEY, token);
}

/** The methods on offer, and the bounds of a request. */
export async function readOffer() {
  return (await send("v1/pruning")).json();
}

/** The example pictures and their questions. */
export async function readExamples() {
  return (await send("page/examples.json")).json();
}

/** A picture of this server as a Blob. */
export async function readPicture(name) {
  return (await send(`page/${name}`)).blob();
}

/**
 * Ask one question, and hand out the text as it grows.
 *
 * Returns {text, usage, kept}. `onWait` is called with the seconds until the next try where the
 * server is busy.
 */
export async function ask(request, { signal, onText, onWait }) {
  const body = { ...request, stream: true, stream_options: { include_usage: true } };
  const options = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  };
  const response = await sendUntilFree("v1/chat/completions", options, onWait);

  const answer = { text: "", usage: null, kept: null };
  for await (const part of readEvents(response.body)) {
    if (part.error) {
      throw new ApiError(part.error.message);
    }
    answer.text += part.choices[0]?.delta.content ?? "";
    answer.usage = part.usage ?? answer.usage;
    answer.kept = part.pruning_trace ?? answer.kept;
    onText(answer.text);
  }
  if (answer.usage === null) {
    throw new ApiError("The connection broke before the answer was whole. Is the server still running?");
  }
  return answer;
}

/** Send again as long as the server is busy, after the time that it names. */
async function sendUntilFree(path, options, onWait) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await send(path, options);
    } catch (error) {
      if (error.status !== 429 || attempt === TRIES) {
        throw error;
      }
      onWait(error.retryAfter);
      await sleep(1000 * error.retryAfter, options.signal);
    }
  }
}

async function send(path, options = {}) {
  const token = sessionStorage.getItem(KEY);
  const headers = token ? { ...options.headers, Authorization: `Bearer ${token}` } : options.headers;

  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    throw asError(error);
  }
  if (!response.ok) {
    throw await refusalOf(response);
  }
  return response;
}

/** The server's own words where it has any. */
async function refusalOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || 1;
  const body = await response.json().catch(() => null);
  const words = body?.error?.message ?? `The server answers with status ${response.status}`;
  return new ApiError(words, response.status, retryAfter);
}

/** Whatever interrupted a request: the user, or the network. */
function asError(error) {
  if (error.name === "AbortError") {
    return error;
  }
  return new ApiError("The server cannot be reached. Is it still running?");
}

/** The parts of a stream of server-sent events. */
async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw asError(error);
    });
    if (done) {
      return;
    }
    const events = (rest + value).split("\n\n");
    rest = events.pop(); // not whole yet

    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data !== "[DONE]") {
        yield JSON.parse(data);
      }
    }
  }
}

function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
