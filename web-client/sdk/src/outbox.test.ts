import 'fake-indexeddb/auto';
import { IDBFactory } from 'fake-indexeddb';
import { beforeEach, describe, expect, test, vi } from 'vitest';

import { OUTBOX_BYTES_MAX, OUTBOX_LINES_MAX, Outbox } from './outbox.ts';
import type { Carrier } from './outbox.ts';
import { bestStore, DeviceStore, MemoryStore } from './outbox-store.ts';
import type { OutboxStore } from './outbox-store.ts';
import { Refusal } from './signal.ts';
import type { LineWords } from './wire.ts';

const ME = 'session/me';
const SECRET = 'it began on Monday';

beforeEach(() => {
  globalThis.indexedDB = new IDBFactory();
});

/** A line that does as it is told. */
class FakeLine implements Carrier {
  readonly said: LineWords[] = [];
  refuses: (words: LineWords) => Refusal | null = () => null;
  outcome: 'said' | 'handed_over' = 'said';

  say = (words: LineWords) => {
    const refusal = this.refuses(words);
    if (refusal) return Promise.reject(refusal);
    this.said.push(words);
    return Promise.resolve(this.outcome);
  };

  upload: Carrier['upload'] = (image, progress) => {
    progress(1);
    return Promise.resolve({ digest: `digest of ${image.size}`, mediaType: 'image/png', width: 1, height: 1, bytes: 1 });
  };
}

const away = new Refusal('unreachable', '', true);

function outbox(store: OutboxStore, owner = ME): Outbox & { confirmedLines: string[] } {
  const confirmedLines: string[] = [];
  const made = new Outbox(owner, store, { change: () => undefined, confirmed: (id) => confirmedLines.push(id) });
  return Object.assign(made, { confirmedLines });
}

describe.each([
  ['on the device', () => new DeviceStore()],
  ['in memory', () => new MemoryStore()],
] as const)('what waits %s', (_, make) => {
  test('is sent in order, once each, by the page that comes after', async () => {
    const store = make();
    const first = outbox(store);
    for (const text of ['one', 'two', 'three']) await first.add(text);
    const line = new FakeLine();
    line.refuses = ({ text }) => (text === 'two' ? away : null);
    await first.flush(line);
    expect(first.lines.map(({ text, state }) => [text, state])).toEqual([
      ['two', 'queued'],
      ['three', 'queued'],
    ]);

    const second = outbox(store);
    await second.load();
    line.refuses = () => null;
    await second.flush(line);
    expect(line.said.map(({ text }) => text)).toEqual(['one', 'two', 'three']);
    expect(new Set(line.said.map(({ clientId }) => clientId)).size).toBe(3);
    expect(await store.load(ME)).toEqual([]);
  });

  test('keeps its images, and sends one once though its line is sent again', async () => {
    const store = make();
    const first = outbox(store);
    await first.add('look', new Blob(['pixels'], { type: 'image/png' }));
    const line = new FakeLine();
    line.refuses = () => away;
    await first.flush(line);
    const second = outbox(store);
    await second.load();
    expect(await second.lines[0]?.image?.text()).toBe('pixels');
    line.refuses = () => null;
    line.upload = () => Promise.reject(new Refusal('busy', 'it was sent before', true));
    await second.flush(line);
    expect(line.said).toMatchObject([{ text: 'look', attachment: 'digest of 6' }]);
  });

  test('is gone when all of it is confirmed, with the way to send it', async () => {
    const store = make();
    const box = outbox(store);
    await box.keep({ base: 'https://x', secret: 's' });
    expect((await store.owners()).size).toBe(0);
    await box.add('one');
    await box.keep({ base: 'https://x', secret: 's' });
    expect([...(await store.owners())]).toEqual([[ME, { base: 'https://x', secret: 's' }]]);
    await box.flush(new FakeLine());
    expect((await store.owners()).size).toBe(0);
  });

  test('is not deleted with what another page of theirs sends', async () => {
    const store = make();
    const [first, other] = [outbox(store), outbox(store)];
    await first.add('one');
    await first.keep({ base: 'https://x', secret: 's' });
    await other.load();
    await first.add('two');
    await other.flush(new FakeLine());
    expect(other.isEmpty).toBe(true);
    expect((await store.load(ME)).map(({ text }) => text)).toEqual(['two']);
    expect((await store.owners()).size).toBe(1);
    await first.clear();
    expect([await store.load(ME), (await store.owners()).size]).toEqual([[], 0]);
  });

  test('is nobody else’s', async () => {
    const store = make();
    await outbox(store).add('one');
    const other = outbox(store, 'session/other');
    await other.load();
    expect(other.isEmpty).toBe(true);
    await other.clear();
    expect(await store.load(ME)).toHaveLength(1);
  });
});

describe('an outbox', () => {
  test('shows what is refused for good, goes on behind it, and sends it again by hand', async () => {
    const box = outbox(new MemoryStore());
    const { said } = await box.add('bad');
    await box.add('good');
    const line = new FakeLine();
    line.refuses = ({ text }) => (text === 'bad' ? new Refusal('malformed', '', false) : null);
    await box.flush(line);
    await expect(said).rejects.toMatchObject({ code: 'malformed' });
    expect(box.lines).toMatchObject([{ text: 'bad', state: 'failed', reason: { code: 'malformed' } }]);
    expect(line.said.map(({ text }) => text)).toEqual(['good']);
    line.refuses = () => null;
    box.retry(box.lines[0]?.clientId ?? '');
    await box.flush(line);
    expect(box.isEmpty).toBe(true);
  });

  test('stops, and keeps everything, when nothing is taken of this participant any more', async () => {
    const box = outbox(new MemoryStore());
    for (const text of ['one', 'two']) await box.add(text);
    const line = new FakeLine();
    line.refuses = () => new Refusal('not_admitted', '', false);
    await box.flush(line);
    expect(box.lines.map(({ state }) => state)).toEqual(['queued', 'queued']);
  });

  test('is flushed by one at a time, and once more for who asked meanwhile', async () => {
    const box = outbox(new MemoryStore());
    const line = new FakeLine();
    await box.add('one');
    const flushes = [box.flush(line), box.flush(line)];
    await box.add('two');
    await Promise.all(flushes);
    await box.flush(line);
    expect(line.said.map(({ text }) => text)).toEqual(['one', 'two']);
  });

  test('does not have words wait for an image that takes long, and gives it up when it is not wanted any more', async () => {
    const box = outbox(new MemoryStore());
    const line = new FakeLine();
    let arrives: () => void = () => undefined;
    let isGivenUp = false;
    line.upload = (_, __, givenUp) =>
      new Promise((resolve, reject) => {
        arrives = () => resolve({ digest: 'there', mediaType: 'image/png', width: 1, height: 1, bytes: 1 });
        givenUp.addEventListener('abort', () => {
          isGivenUp = true;
          reject(away);
        });
      });
    await box.add('look', new Blob(['pixels']));
    await box.add('it hurts');
    const flushing = box.flush(line);
    await box.add('very much');
    void box.flush(line);
    await vi.waitFor(() => expect(line.said.map(({ text }) => text)).toEqual(['it hurts', 'very much']));
    expect(box.lines.map(({ state }) => state)).toEqual(['sending']);
    arrives();
    expect(await flushing).toBe('done');
    expect(line.said.at(-1)).toMatchObject({ text: 'look', attachment: 'there' });

    const { clientId, said } = await box.add('', new Blob(['more']));
    const gone = expect(said).rejects.toMatchObject({ code: 'given_up' });
    void box.flush(line);
    await box.discard(clientId);
    await gone;
    expect([isGivenUp, box.isEmpty, line.said.length]).toEqual([true, true, 3]);
  });

  test('does not say again what the server told everybody already', async () => {
    const box = outbox(new MemoryStore());
    const { clientId, said } = await box.add('one');
    box.heard(clientId);
    const line = new FakeLine();
    await box.flush(line);
    expect(line.said).toEqual([]);
    expect(box.confirmedLines).toEqual([clientId]);
    await said;
  });

  test('is bounded in lines and in bytes', async () => {
    const lines = outbox(new MemoryStore());
    for (let n = 0; n < OUTBOX_LINES_MAX; n += 1) await lines.add('x');
    await expect(lines.add('x')).rejects.toMatchObject({ code: 'outbox_full', retryable: false });
    const images = outbox(new MemoryStore());
    const image = { size: OUTBOX_BYTES_MAX } as Blob;
    await images.add('', image);
    await expect(images.add('', { size: 1 } as Blob)).rejects.toMatchObject({ code: 'outbox_full' });
    await images.add('text fits still');
  });
});

describe('on the device', () => {
  /** All that lies in the database, as text. */
  async function dump(): Promise<string> {
    const database = await new Promise<IDBDatabase>((resolve) => {
      const request = indexedDB.open('vestibule-outbox', 1);
      request.onsuccess = () => resolve(request.result);
    });
    const all = (name: string) =>
      new Promise<unknown[]>((resolve) => {
        const request = database.transaction(name).objectStore(name).getAll();
        request.onsuccess = () => resolve(request.result as unknown[]);
      });
    const text = (value: unknown): string => {
      if (value instanceof ArrayBuffer) return new TextDecoder('latin1').decode(value);
      if (ArrayBuffer.isView(value)) return '';
      if (value instanceof Object && !(value instanceof CryptoKey)) return Object.values(value).map(text).join(' ');
      return String(value);
    };
    return text([...(await all('lines')), ...(await all('owners'))]);
  }

  test('nothing is in the clear, and the key is not to be had', async () => {
    const store = new DeviceStore();
    const box = outbox(store);
    await box.add(SECRET, new Blob([SECRET]));
    await box.keep({ base: 'https://x', secret: SECRET });
    const raw = await dump();
    expect(raw).toContain(ME);
    expect(raw).not.toContain('Monday');
  });

  test('another page opens what one sealed; of two that make a key at once both have the same', async () => {
    const [one, other] = [new DeviceStore(), new DeviceStore()];
    await Promise.all([outbox(one).add('one'), outbox(other).add('two')]);
    const third = outbox(new DeviceStore());
    await third.load();
    expect(third.lines.map(({ text }) => text).sort()).toEqual(['one', 'two']);
  });

  test('where nothing can be kept, memory does', async () => {
    expect(await bestStore()).toBeInstanceOf(DeviceStore);
    globalThis.indexedDB = {
      open: () => {
        throw new Error('private window');
      },
    } as unknown as IDBFactory;
    expect(await bestStore()).toBeInstanceOf(MemoryStore);
  });
});
