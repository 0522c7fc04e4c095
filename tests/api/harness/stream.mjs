/** Server-sent events of the feed, or of a desk (WHATWG HTML, section 9.2), heard one by one. */
import { until } from '../../browser/harness/wait.mjs';

export class Stream {
  /** @type {{id: string, event: string, data: any}[]} */
  events = [];
  #stop = new AbortController();
  #over;

  /** @param {string} origin @param {{as: Record<string, string>, path?: string, query?: string, lastEventId?: string}} how */
  static async open(origin, { as, path = '/v1/events/stream', query = '', lastEventId }) {
    const stream = new Stream();
    const last = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
    const response = await fetch(`${origin}${path}${query}`, {
      headers: { accept: 'text/event-stream', ...as, ...last },
      signal: stream.#stop.signal,
    });
    if (response.status !== 200) throw new Error(`no stream: ${response.status} ${await response.text()}`);
    stream.#over = stream.#read(response.body).catch(() => undefined);
    return stream;
  }

  /** Waits until there are `count` of them. */
  async heard(count) {
    await until(`${count} events; there are ${this.events.length}`, () => this.events.length >= count);
    return this.events;
  }

  /** Waits until the last of them is as wanted; its data. @param {(data: any) => boolean} wanted */
  async last(wanted) {
    const found = () => [this.events.at(-1)?.data].find((data) => data && wanted(data));
    return until(`another event than ${JSON.stringify(this.events.at(-1))}`, found);
  }

  async close() {
    this.#stop.abort();
    await this.#over;
  }

  async #read(body) {
    let rest = '';
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
      const blocks = (rest + chunk).split('\n\n');
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event.data !== undefined) this.events.push(event);
      }
    }
  }
}

/** One event; of a comment alone, one without data. */
function parse(block) {
  const fields = block.split('\n').map((line) => /^(\w+): ?(.*)$/.exec(line)).filter(Boolean);
  const { id, event, data } = Object.fromEntries(fields.map(([, name, value]) => [name, value]));
  return { id, event, data: data === undefined ? undefined : JSON.parse(data) };
}
