/** A session of the SDK as Svelte sees it: whatever is read of `session` through this is read anew at each change. */
import { createSubscriber } from 'svelte/reactivity';

import { Session } from '../../sdk/src/index.ts';
import type { SessionOptions } from '../../sdk/src/index.ts';

export class Visit {
  readonly #session: Session;
  readonly #subscribe: () => void;

  constructor(options: SessionOptions) {
    this.#session = new Session(options);
    this.#subscribe = createSubscriber((update) => this.#session.on('change', update));
  }

  get session(): Session {
    this.#subscribe();
    return this.#session;
  }

  /** The session, for those who only act on it. */
  get handle(): Session {
    return this.#session;
  }
}
