// Times of both sides: several runs where they are quick, one where they are not.

export const ROUNDS = 3;
const QUICK = 1; // seconds of all answers so far

/** Seconds on the model: waiting and preparing are left out. */
export function secondsOf(answer) {
  const bill = answer.usage.pruning;
  return {
    first: bill.first_token_seconds - bill.queued_seconds,
    total: bill.total_seconds - bill.queued_seconds,
  };
}

/** The runs of both sides. */
export class Times {
  constructor(sides) {
    this.runs = Object.fromEntries(sides.map((side) => [side, []]));
    this.shared = false;
  }

  /** Count one run. */
  add(side, answer) {
    this.runs[side].push(secondsOf(answer));
    // requests of others ran along
    this.shared ||= answer.usage.pruning.batch_size > 1;
  }

  /** Whether asking again is no burden to the server. */
  get quick() {
    const totals = Object.values(this.runs).flatMap((runs) => runs.map(({ total }) => total));
    return totals.reduce((sum, total) => sum + total, 0) < QUICK;
  }

  /** Median seconds of a side. */
  of(side) {
    const runs = this.runs[side];
    return {
      first: median(runs.map(({ first }) => first)),
      total: median(runs.map(({ total }) => total)),
    };
  }

  /** How they were measured. */
  get words() {
    const count = Math.min(...Object.values(this.runs).map((runs) => runs.length));
    const runs = count > 1 ? `medians of ${count} runs each` : "one run each, and a first one is slower";
    const crowd = this.shared ? " Requests of others ran along, which makes it slower." : "";
    return (
      `Times: ${runs}, on the server, from the start of its batch; nothing is used again from earlier ` +
      `requests.${crowd} Work: all tokens and the choosing counted.`
    );
  }
}

function median(values) {
  const ordered = [...values].sort((a, b) => a - b);
  const middle = ordered.length >> 1;
  return ordered.length % 2 ? ordered[middle] : (ordered[middle - 1] + ordered[middle]) / 2;
}
