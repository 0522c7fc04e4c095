/** Who waits at a desk, live: server-sent events (WHATWG HTML, section 9.2). It knows no screen. */
import { request } from './client.ts';

/** A patient who waits. */
export interface Waiting {
  /** From 1. */
  position: number;
  sessionId: string;
  participantId: string;
  name: string;
  since: string;
  /** Whether they are there at this moment. */
  connected: boolean;
  /** Whether they came before, and this may be another device. */
  newDevice: boolean;
  /** Whether a provider is in their session already. */
  providerPresent: boolean;
  scheduledStart: string | null;
}

export interface Queue {
  providerRef: string;
  waiting: Waiting[];
}

export type Line = 'opening' | 'open' | 'reconnecting';

export interface DeskHandlers {
  queue: (queue: Queue) => void;
  line: (line: Line) => void;
  /** The server does not let this be watched, or cannot just now. It is tried again, unless it is stopped. */
  refused: () => void;
}

/** When a stream that was refused is asked for again, in milliseconds. */
export const RETRY_MS = 5_000;

/** Watches a desk, one's own if null, until the answer is called. */
export function watchDesk(desk: string | null, handlers: DeskHandlers): () => void {
  const path = desk === null ? '/v1/desk' : `/v1/desk?providerRef=${encodeURIComponent(desk)}`;
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const open = (): void => {
    close();
    const stream = new EventSource(path);
    source = stream;
    stream.onopen = () => handlers.line('open');
    stream.addEventListener('queue', ({ data }) => handlers.queue(JSON.parse(data as string) as Queue));
    stream.onerror = () => {
      handlers.line('reconnecting');
      // A stream that broke is opened again by the browser; one that was refused is not.
      if (stream.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(open, RETRY_MS);
      handlers.refused();
    };
  };
  const close = (): void => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const stop = (): void => {
    window.removeEventListener('online', open);
    close();
  };

  // What is dead may take minutes to say so.
  window.addEventListener('online', open);
  handlers.line('opening');
  open();
  return stop;
}

/** Whose names those of a queue are: one patient may wait in two sessions. */
export const keyOf = ({ sessionId, participantId }: Waiting): string => `${sessionId} ${participantId}`;

/** Who has come, and who waits no more, between two looks. */
export function changes(before: readonly Waiting[], after: readonly Waiting[]): { come: Waiting[]; gone: Waiting[] } {
  const missing = (from: readonly Waiting[], all: readonly Waiting[]) => {
    const keys = new Set(from.map(keyOf));
    return all.filter((waiting) => !keys.has(keyOf(waiting)));
  };
  return { come: missing(before, after), gone: missing(after, before) };
}

// --- what is done from there ------------------------------------------------------------------------------------------

interface Place {
  id: string;
  role: string;
  displayName: string | null;
  standing: string;
}
interface SessionRow {
  providerRef: string;
  participants: Place[];
}

/**
 * The provider's place to open a session in: that of the name of whoever asks if there is one, as another's would be
 * taken from them, or else the first.
 */
export function placeOf(participants: readonly Place[], name: string): Place | undefined {
  const places = participants.filter(({ role, standing }) => role === 'provider' && standing !== 'removed');
  return places.find(({ displayName }) => displayName === name) ?? places[0];
}

/** Whether that place goes by another name, or by none: somebody else may be in it. */
export function isOthers(participants: readonly Place[], name: string): boolean {
  const place = placeOf(participants, name);
  return place !== undefined && place.displayName !== name;
}

/** The same for a session that is not at hand. */
export async function isOthersIn(sessionId: string, name: string): Promise<boolean> {
  return isOthers((await request<SessionRow>('GET', `/sessions/${sessionId}`)).participants, name);
}

/** A link into a session for a provider of that name; null where it has no place for a provider. */
export async function linkInto(sessionId: string, name: string): Promise<string | null> {
  const { participants } = await request<SessionRow>('GET', `/sessions/${sessionId}`);
  const place = placeOf(participants, name);
  if (!place) return null;
  const { joinUrl } = await request<{ joinUrl: string }>('POST', `/sessions/${sessionId}/participants/${place.id}/tokens`, {});
  return joinUrl;
}

/** A visit that has begun, and is not over. */
export interface UnderWay {
  sessionId: string;
  /** Whose visit it is; empty if nobody said. */
  name: string;
  /** To go in takes the place of somebody else who was let in, and may be there. */
  isTaken: boolean;
}

/** The visits of a desk that are under way: whoever of that name lost theirs finds the way back here. */
export async function underWay(desk: string, name: string): Promise<UnderWay[]> {
  const query = `status=active&providerRef=${encodeURIComponent(desk)}&limit=20`;
  const { items } = await request<{ items: (SessionRow & { id: string })[] }>('GET', `/sessions?${query}`);
  const nameIn = ({ participants }: SessionRow) => participants.find(({ role }) => role === 'patient')?.displayName ?? '';
  return items.map((session) => {
    const { id, participants } = session;
    const isIn = placeOf(participants, name)?.standing === 'admitted';
    return { sessionId: id, name: nameIn(session), isTaken: isIn && isOthers(participants, name) };
  });
}

export const notNow = ({ sessionId, participantId }: Waiting) =>
  request<SessionRow>('POST', `/sessions/${sessionId}/participants/${participantId}/deny`, { reason: 'not_now' });

/** Desks that have something to do: those of visits that are not over. */
export async function busyDesks(): Promise<string[]> {
  const listed = await Promise.all(
    ['waiting', 'active', 'scheduled'].map((status) =>
      request<{ items: SessionRow[] }>('GET', `/sessions?status=${status}&limit=100`),
    ),
  );
  return [...new Set(listed.flatMap(({ items }) => items.map(({ providerRef }) => providerRef)))].sort();
}
