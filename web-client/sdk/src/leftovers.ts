/** Sends what an earlier page composed and could not send, whatever visit it was of, when a page is opened again. */
import { Outbox } from './outbox.ts';
import { bestStore } from './outbox-store.ts';
import type { OutboxStore } from './outbox-store.ts';
import { Refusal } from './signal.ts';
import { TextLine } from './text-line.ts';

/** What came of it. */
export interface Leftovers {
  /** Lines that came after the visit was over, and went to the provider's desk. */
  handedOver: number;
  /** Lines that nobody takes any more: they are deleted from the device. */
  lost: number;
}

/** What says that nothing of this participant is taken any more. */
const GONE = new Set(['resume_invalid', 'removed', 'session_over']);

/** Sends all of it that can be; what cannot be just now stays. */
export async function sendLeftovers(store?: OutboxStore): Promise<Leftovers> {
  const kept = store ?? (await bestStore());
  const result: Leftovers = { handedOver: 0, lost: 0 };
  for (const [owner, { base, secret }] of await kept.owners()) {
    const line = new TextLine(base, () => secret);
    let gone = false;
    const outbox = new Outbox(owner, kept, {
      change: () => undefined,
      confirmed: (_, outcome) => (result.handedOver += outcome === 'handed_over' ? 1 : 0),
    });
    await outbox.load();
    const watched = async <Reply>(reply: Promise<Reply>): Promise<Reply> => {
      try {
        return await reply;
      } catch (error) {
        gone ||= error instanceof Refusal && GONE.has(error.code);
        throw error;
      }
    };
    await outbox.flush({
      say: (words) => watched(line.say(words)),
      upload: (image, progress, givenUp) => watched(line.upload(image, progress, givenUp)),
    });
    if (!gone) continue;
    result.lost += outbox.lines.length;
    await outbox.clear();
  }
  return result;
}
