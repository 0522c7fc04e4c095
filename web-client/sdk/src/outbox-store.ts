/**
 * Where lines and images wait that are not sent: on the device, so that they outlive the page, and no longer than they must.
 *
 * They are health data. They lie sealed (AES-GCM) under a key that the browser never gives away and that lies beside them:
 * who copies the browser's files has neither without the other, and nothing can be read where a key cannot be used. It is
 * no shield against who uses this browser as its owner. Sealing costs next to nothing, so all is.
 */

/** A line as it waits. */
export interface WaitingLine {
  /** Whose it is, and of which visit. */
  owner: string;
  /** Made on the device; the same each time it is sent. */
  clientId: string;
  /** When it was written, in milliseconds since 1970: the order in which lines are sent. */
  writtenAt: number;
  text: string;
  image: Blob | null;
  /** The digest of its image, once the server has it. */
  attachment: string | null;
}

/** How to send what waits, when the page that wrote it is gone. */
export interface Credential {
  base: string;
  secret: string;
}

export interface OutboxStore {
  /** What waits of an owner, in order. */
  load: (owner: string) => Promise<WaitingLine[]>;
  put: (line: WaitingLine) => Promise<void>;
  /** Deletes a line; with the last one of an owner how to send them, too. */
  remove: (owner: string, clientId: string) => Promise<void>;
  keep: (owner: string, credential: Credential) => Promise<void>;
  /** The owners of whom something waits, and how to send it. */
  owners: () => Promise<Map<string, Credential>>;
}

/** In this page's memory, where there is no other storage. */
export class MemoryStore implements OutboxStore {
  readonly #lines = new Map<string, WaitingLine>();
  readonly #credentials = new Map<string, Credential>();

  load = (owner: string) => Promise.resolve(inOrder([...this.#lines.values()].filter((line) => line.owner === owner)));

  put = (line: WaitingLine) => {
    this.#lines.set(`${line.owner} ${line.clientId}`, line);
    return Promise.resolve();
  };

  remove = (owner: string, clientId: string) => {
    this.#lines.delete(`${owner} ${clientId}`);
    if (![...this.#lines.values()].some((line) => line.owner === owner)) this.#credentials.delete(owner);
    return Promise.resolve();
  };

  keep = (owner: string, credential: Credential) => {
    this.#credentials.set(owner, credential);
    return Promise.resolve();
  };

  owners = () => Promise.resolve(new Map(this.#credentials));
}

const DATABASE = 'vestibule-outbox';

interface Sealed {
  iv: Uint8Array<ArrayBuffer>;
  bytes: ArrayBuffer;
}

interface Row {
  owner: string;
  clientId: string;
  said: Sealed;
  image: Sealed | null;
}

/** In IndexedDB. */
export class DeviceStore implements OutboxStore {
  #opened: Promise<IDBDatabase> | null = null;
  #key: Promise<CryptoKey> | null = null;

  async load(owner: string): Promise<WaitingLine[]> {
    const rows = await this.#read<Row[]>('lines', (store) => store.index('owner').getAll(owner));
    const lines = await Promise.all(rows.map((row) => this.#open(row)));
    // One that cannot be opened is another browser's, or damaged: nobody can read it, nor send it.
    return inOrder(lines.filter((line) => line !== null));
  }

  async put(line: WaitingLine): Promise<void> {
    const { owner, clientId, writtenAt, text, image, attachment } = line;
    const said = await this.#seal(encoded({ writtenAt, text, attachment, type: image?.type ?? null }));
    const sealed = image ? await this.#seal(await image.arrayBuffer()) : null;
    await this.#write(['lines'], (store) => store.put({ owner, clientId, said, image: sealed } satisfies Row));
  }

  async remove(owner: string, clientId: string): Promise<void> {
    await this.#write(['lines', 'owners'], (lines, owners) => {
      lines.delete([owner, clientId]);
      const left = lines.index('owner').count(owner);
      left.onsuccess = () => {
        if (left.result === 0) owners?.delete(owner);
      };
    });
  }

  async keep(owner: string, credential: Credential): Promise<void> {
    const sealed = await this.#seal(encoded(credential));
    await this.#write(['owners'], (store) => store.put({ owner, sealed }));
  }

  async owners(): Promise<Map<string, Credential>> {
    const rows = await this.#read<{ owner: string; sealed: Sealed }[]>('owners', (store) => store.getAll());
    const owners = new Map<string, Credential>();
    for (const { owner, sealed } of rows) {
      const credential = await this.#unseal(sealed).catch(() => null);
      if (credential) owners.set(owner, decoded<Credential>(credential));
    }
    return owners;
  }

  async #open({ owner, clientId, said, image }: Row): Promise<WaitingLine | null> {
    try {
      const { type, ...line } = decoded<Omit<WaitingLine, 'owner' | 'clientId' | 'image'> & { type: string | null }>(
        await this.#unseal(said),
      );
      const bytes = image ? await this.#unseal(image) : null;
      return { owner, clientId, ...line, image: bytes ? new Blob([bytes], { type: type ?? '' }) : null };
    } catch {
      return null;
    }
  }

  async #seal(bytes: ArrayBuffer | Uint8Array<ArrayBuffer>): Promise<Sealed> {
    const iv = crypto.getRandomValues(new Uint8Array(12));
    return { iv, bytes: await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, await this.#sealingKey(), bytes) };
  }

  async #unseal({ iv, bytes }: Sealed): Promise<ArrayBuffer> {
    return crypto.subtle.decrypt({ name: 'AES-GCM', iv }, await this.#sealingKey(), bytes);
  }

  #sealingKey(): Promise<CryptoKey> {
    this.#key ??= this.#findKey();
    return this.#key;
  }

  /** The key that is kept; of two pages that make one at once, that of the first. */
  async #findKey(): Promise<CryptoKey> {
    const fresh = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']);
    const database = await this.#database();
    return new Promise((resolve, reject) => {
      const transaction = database.transaction('keys', 'readwrite');
      const keys = transaction.objectStore('keys');
      const found = keys.get('key') as IDBRequest<CryptoKey | undefined>;
      found.onsuccess = () => {
        if (found.result === undefined) keys.put(fresh, 'key');
      };
      transaction.oncomplete = () => resolve(found.result ?? fresh);
      transaction.onerror = transaction.onabort = () => reject(failed(transaction.error));
    });
  }

  #database(): Promise<IDBDatabase> {
    this.#opened ??= new Promise((resolve, reject) => {
      const request = indexedDB.open(DATABASE, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore('keys');
        request.result.createObjectStore('owners', { keyPath: 'owner' });
        const lines = request.result.createObjectStore('lines', { keyPath: ['owner', 'clientId'] });
        lines.createIndex('owner', 'owner');
      };
      request.onsuccess = () => resolve(request.result);
      request.onerror = request.onblocked = () => reject(failed(request.error));
    });
    return this.#opened;
  }

  async #read<Result>(name: string, ask: (store: IDBObjectStore) => IDBRequest): Promise<Result> {
    const database = await this.#database();
    return new Promise((resolve, reject) => {
      const request = ask(database.transaction(name).objectStore(name));
      request.onsuccess = () => resolve(request.result as Result);
      request.onerror = () => reject(failed(request.error));
    });
  }

  async #write(names: string[], change: (...stores: [IDBObjectStore, IDBObjectStore?]) => unknown): Promise<void> {
    const database = await this.#database();
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(names, 'readwrite');
      const [one, other] = names.map((name) => transaction.objectStore(name));
      if (one) change(one, other);
      transaction.oncomplete = () => resolve();
      transaction.onerror = transaction.onabort = () => reject(failed(transaction.error));
    });
  }
}

/** The best there is: on the device, or in memory where a browser keeps nothing or a page may not seal. */
export async function bestStore(): Promise<OutboxStore> {
  try {
    if (typeof indexedDB === 'undefined' || crypto.subtle === undefined) return new MemoryStore();
    const store = new DeviceStore();
    await store.owners();
    return store;
  } catch {
    return new MemoryStore();
  }
}

function inOrder(lines: WaitingLine[]): WaitingLine[] {
  return lines.sort((one, other) => one.writtenAt - other.writtenAt);
}

function encoded(value: object): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}

function decoded<Value>(bytes: ArrayBuffer): Value {
  return JSON.parse(new TextDecoder().decode(bytes)) as Value;
}

function failed(error: DOMException | null): Error {
  return error ?? new Error('the device keeps nothing');
}
