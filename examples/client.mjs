#!/usr/bin/env -S node --experimental-websocket
/**
 * A client in one file, to learn the protocol from; docs/protocol.md is the whole of it.
 *
 *   examples/client.mjs LINK [--consent]
 *
 * Node.js 20.10 or newer, nothing to install. What is typed is said to everybody who is in; `--consent` gives every
 * consent that is asked for. Commands: /admit /deny /send-back /remove, each with the beginning of a name where there
 * is a choice; /end /leave.
 *
 * It leaves out all that is media, from `offer` to `quality`, and how connections were. It keeps its resume secret in
 * memory alone; a page keeps it in sessionStorage, and after a reload says `hello` with it and without an incarnation.
 * For a server with a certificate of its own, name that in NODE_EXTRA_CA_CERTS.
 */
import { randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

/** Waits before the tries to come back, in milliseconds. The last is that of all further ones, with jitter. */
const RETRY_MS = [0, 300, 1_000, 2_000, 4_000, 5_000];
const PING_MS = 10_000;
/** A line on which nothing was heard for so long is dead: the server answers every ping. */
const SILENCE_MS_MAX = 25_000;
/** Close codes after which coming back would change nothing. 1008 is none: who read too slowly may come back. */
const FINAL_CODES = [1000, 1002, 1003, 1009, 4001];

const { values, positionals } = parseArgs({ allowPositionals: true, options: { consent: { type: 'boolean' } } });
if (positionals.length !== 1 || !globalThis.WebSocket) stop('usage: node --experimental-websocket client.mjs LINK', 2);
const link = new URL(positionals[0]);
/** In the fragment, which no HTTP client sends; it goes into the bodies of requests. */
const token = link.hash.slice(1);

// What lasts longer than a socket.
/** Good for coming back, once; each time there is a new one. @type {string | null} */
let secret = null;
/** Names the numbers of the server's messages and of our requests. @type {string | undefined} */
let incarnation;
/** The number of the server's last message. */
let lastSeq = 0;
let lastId = 0;
/** Requests without a reply, by their id. @type {Map<number, any>} */
const pending = new Map();

// What there is to see. Participants are `{id, role, name, state, …}`.
let me;
let visit;
const people = new Map();
const knocking = new Map();
/** Lines that were shown: a snapshot brings them again. */
const shown = new Set();

// The socket in use.
/** @type {WebSocket | null} */
let socket = null;
/** Its `hello` was accepted. */
let isOpen = false;
let heardAt = 0;
let tries = 0;

/** Line by line, also what is typed before it is asked for. */
const typed = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// --- The door: HTTP, before there is a socket ----------------------------------------------------------------------

/** Who am I, when is it, and what am I to agree to? Asking changes nothing. */
async function enter() {
  try {
    const { participant, clinic, session, consents } = await post('join', { token });
    say(`* ${clinic.name} welcomes ${label(participant)}; the visit is ${session.status}`);
    const given = [];
    for (const { type, version, title, text, required } of consents) {
      say([title, ...text, `Do you agree${required ? '' : ' (you need not)'}? y/n`].join('\n'));
      const granted = values.consent || /^y/i.test((await typed.next()).value ?? '');
      given.push({ type, version, granted });
    }
    if (given.length) await post('join/consents', { token, consents: given });
  } catch (error) {
    stop(`! ${error.message}`, 1);
  }
}

/** What the server refuses comes as problem+json (RFC 9457) with a stable `code`. */
async function post(path, body) {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${link.origin}/v1/${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  const answer = await response.json();
  if (response.ok) return answer;
  const { status } = response;
  throw Object.assign(new Error(`${answer.detail ?? answer.title} (${answer.code})`), { status });
}

// --- The socket: one at a time, again and again --------------------------------------------------------------------

/** Comes in with a ticket, and back with the secret. A ticket opens one socket, so each try takes a fresh one. */
async function connect() {
  let hello;
  try {
    if (secret) hello = { resume: secret, incarnation, lastSeq };
    else hello = { ticket: (await post('join/ticket', { token })).ticket };
  } catch (error) {
    // Too many at once (429, 503), or no answer: that may be over in a moment. Everything else the server means.
    if (![429, 503, undefined].includes(error.status)) stop(`! ${error.message}`, 1);
    return retry();
  }
  const mine = new WebSocket(`${link.origin.replace('http', 'ws')}/v1/signal`, 'vestibule.v1');
  socket = mine;
  heardAt = Date.now();
  // The hello has no id: it is no request within an incarnation.
  mine.onopen = () => mine.send(JSON.stringify({ type: 'hello', ...hello }));
  mine.onmessage = ({ data }) => {
    heardAt = Date.now();
    if (socket === mine) receive(JSON.parse(data));
  };
  mine.onclose = ({ code, reason }) => lost(mine, code, reason);
  // Where there was no handshake, Node.js gives no close event.
  mine.onerror = () => lost(mine);
}

/** The media of a call flows on meanwhile; the others do not notice. */
function lost(which, code = 1006, reason = '') {
  if (socket !== which) return;
  socket = null;
  which.close();
  if (FINAL_CODES.includes(code)) stop(`! the server closed the line: ${reason || code}`, 1);
  if (isOpen) say('* the line is lost');
  isOpen = false;
  retry();
}

function retry() {
  const wait = RETRY_MS[tries] ?? RETRY_MS.at(-1) * (0.8 + 0.4 * Math.random());
  tries += 1;
  setTimeout(connect, wait);
}

/** Tells the server what it need not keep any longer, and finds out whether the line is dead: it does not say so. */
function keepAlive() {
  if (!socket) return;
  if (Date.now() - heardAt > SILENCE_MS_MAX) return lost(socket);
  if (!isOpen) return;
  // Not at `welcome`: whoever is let in and thrown out at once should not come back at full speed.
  tries = 0;
  request({ type: 'ping', lastSeq });
}

/** Sends a request, now or when the line is back; its reply names the id. */
function request(message) {
  lastId += 1;
  pending.set(lastId, message);
  if (isOpen) socket.send(JSON.stringify({ ...message, id: lastId }));
}

// --- What the server says ------------------------------------------------------------------------------------------

function receive(frame) {
  if (frame.type === 'welcome') return begin(frame);
  if (frame.type === 'resumed') return goOn(frame);
  if (!isOpen && frame.type === 'error') return refused(frame);
  // Within an incarnation the numbers have no gap, over all its sockets.
  if (isOpen && frame.seq !== lastSeq + 1) stop(`! message ${frame.seq} came after ${lastSeq}`, 1);
  lastSeq = frame.seq;
  const asked = pending.get(frame.replyTo);
  pending.delete(frame.replyTo);
  // What it does not know, a client ignores.
  on[frame.type]?.(frame, asked);
}

/** A snapshot, and a new incarnation: at first, after a restart of the server, or after too long a time. */
function begin({ you, newDevice, session, participants, chat, resume, incarnation: named, seq }) {
  isOpen = true;
  [me, visit] = [you, session.status];
  [secret, incarnation, lastSeq] = [resume ?? secret, named, seq];
  knocking.clear();
  say(`* hello ${label(me)}, you are ${me.state}; the visit is ${visit}`);
  if (newDevice) say('* you are in on another device, which goes on until this one is let in');
  meet(participants, chat);
  // Which of these were carried out is not known, and asking again is safe: what is so already is `done`, and a line
  // of chat is said once for its `clientId`.
  const unanswered = [...pending.values()];
  pending.clear();
  for (const message of unanswered) if (message.type !== 'ping') request(message);
}

/** The incarnation goes on, and what was missed comes after this. What was not heard is sent again as it was. */
function goOn({ resume, heard }) {
  isOpen = true;
  secret = resume ?? secret;
  say('* you are back');
  for (const [id, message] of pending) {
    if (id > heard) socket.send(JSON.stringify({ ...message, id }));
  }
}

/** The `hello` was refused. */
function refused({ code, message, retryable }) {
  // The secret is void, or a restart of the server came between the ticket and its use: a fresh ticket.
  const isStale = ['resume_invalid', 'ticket_invalid'].includes(code);
  if (isStale) secret = null;
  else if (!retryable) stop(`! ${message} (${code})`, 1);
  lost(socket);
}

/** By the type of the message; `asked` is the request that it answers. */
const on = {
  waiting({ position, providerPresent }) {
    people.clear();
    say(`* you wait${position ? `, place ${position}` : ''}; a provider is ${providerPresent ? '' : 'not '}there`);
  },
  knock({ participant, newDevice, device }) {
    knocking.set(participant.id, { ...participant, device });
    say(`* ${label(participant)} knocks${newDevice ? ', perhaps with another device' : ''}`);
  },
  knockOver: ({ participantId }) => knocking.delete(participantId),
  admitted({ participants, chat }) {
    say('* you are in');
    meet(participants, chat);
  },
  denied: ({ reason }) => stop(`* you are not let in: ${reason}`),
  /** Somebody is new or different; `null`: out of sight. */
  participant({ participantId, participant }) {
    const before = people.get(participantId);
    if (participant) people.set(participantId, participant);
    else people.delete(participantId);
    if (!participant && before) say(`* ${label(before)} is gone`);
    if (participant && participant.state !== before?.state) say(`* ${label(participant)} is ${stateOf(participant)}`);
  },
  session({ status }) {
    if (status !== visit) say(`* the visit is ${status}`);
    visit = status;
  },
  chat: show,
  recording: ({ on }) => say(`* this visit is ${on ? '' : 'not '}recorded`),
  superseded: () => stop('* you came in on another device'),
  removed: () => stop('* you were taken out of the visit'),
  ended: ({ reason }) => stop(`* the visit is over: ${reason}`),
  done(_, asked) {
    if (asked?.type === 'leave') stop('* you left');
  },
  error: ({ code, message }, asked) => say(`? ${asked?.type ?? 'refused'}: ${message} (${code})`),
};

function meet(participants, chat) {
  people.clear();
  for (const one of participants) {
    people.set(one.id, one);
    say(`* ${label(one)} is ${stateOf(one)}`);
  }
  chat.forEach(show);
}

/** Also what we said ourselves: it counts when it comes back. */
function show({ from, name, clientId, text }) {
  const line = `${from} ${clientId}`;
  if (shown.has(line)) return;
  shown.add(line);
  say(`${name}: ${text}`);
}

// --- What the person types -----------------------------------------------------------------------------------------

function take(line) {
  if (!line) return;
  const [, command, name] = /^\/(\S+)\s*(.*)$/.exec(line) ?? [];
  // Who knocked is let in on the device they knocked on, and on no other.
  const about = (type, choice) => find(choice, name, ({ id, device }) => request({ type, participantId: id, device }));
  if (!command) request({ type: 'chat', clientId: randomUUID(), text: line });
  else if (command === 'admit' || command === 'deny') about(command, knocking);
  else if (command === 'send-back') about('sendBack', people);
  else if (command === 'remove') about('remove', people);
  else if (command === 'end' || command === 'leave') request({ type: command });
  else say(`? there is no /${command}`);
}

/** Whose name begins like that; without a name, the only one. */
function find(choice, name, use) {
  const all = [...choice.values()].filter((one) => nameOf(one).toLowerCase().startsWith(name.toLowerCase()));
  if (all.length === 1) use(all[0]);
  else say(`? ${all.length ? `which of ${all.map(nameOf).join(', ')}` : 'there is nobody of that name'}?`);
}

// --- Words ---------------------------------------------------------------------------------------------------------

const nameOf = ({ name, role }) => name ?? role;
const label = (participant) => `${nameOf(participant)} (${participant.role})`;
const stateOf = ({ state, lostUntil }) => (lostUntil ? `${state}, waited for until ${lostUntil}` : state);
const say = (line) => console.log(line);

/** @returns {never} */
function stop(line, code = 0) {
  console.log(line);
  process.exit(code);
}

// --- All of it, in order ------------------------------------------------------------------------------------------

await enter();
connect();
setInterval(keepAlive, PING_MS);
for await (const line of typed) take(line.trim());
request({ type: 'leave' });
