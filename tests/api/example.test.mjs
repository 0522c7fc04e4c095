/** The example client against the real server: what docs/protocol.md promises, seen by who has read no more than that. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Line } from '../browser/harness/line.mjs';
import { Process } from '../browser/harness/process.mjs';
import { Server } from '../browser/harness/server.mjs';
import { until } from '../browser/harness/wait.mjs';

const CLIENT = fileURLToPath(new URL('../../examples/client.mjs', import.meta.url));
const LINES_MAX = 300;
/** In a queue with those of other tests. */
const WAITS = /^\* you wait, place \d+; a provider is there$/;

let server;

before(async () => {
  server = await Server.start();
});

after(async () => {
  assert.equal(await server?.end(), 0, 'the server ends cleanly');
});

test('it is short enough to be read', async () => {
  const lines = (await readFile(CLIENT, 'utf8')).split('\n').length - 1;
  assert.ok(lines <= LINES_MAX, `${lines} lines`);
});

test('a visit: consent at the terminal, waiting, let in, chat both ways, the end', async (t) => {
  const { ada, pat } = await comeIn(t, server, { consent: false });
  await pat.sees(/^Do you agree\? y\/n$/);
  pat.types('y');
  await talk(ada, pat);
  ada.types('/end');
  for (const one of [ada, pat]) {
    await one.sees(/^\* the visit is over: provider_ended$/);
    assert.equal(await one.process.ended(), 0);
  }
});

test('who does not consent is not let in', async (t) => {
  const { pat } = await comeIn(t, server, { consent: false });
  await pat.sees(/^Do you agree\? y\/n$/);
  pat.types('n');
  await pat.sees(/^! .*\(consent_missing\)$/);
  assert.equal(await pat.process.ended(), 1);
});

test('who is denied is told so, and may knock again', async (t) => {
  const { ada, pat, again } = await comeIn(t, server);
  await ada.sees(/^\* Pat \(patient\) knocks/);
  ada.types('/deny pat');
  await pat.sees(/^\* you are not let in: other$/);
  assert.equal(await pat.process.ended(), 0);
  await talk(ada, again());
});

test('sent back and taken out', async (t) => {
  const { ada, pat, again } = await comeIn(t, server);
  await talk(ada, pat);
  ada.types('/send-back pat');
  await pat.sees(WAITS);
  pat.types('nobody is to hear this');
  await pat.sees(/^\? chat: .*\(not_admitted\)$/);
  await ada.sees(/^\* Pat \(patient\) knocks/);
  ada.types('/admit');
  await pat.sees(/^\* you are in$/);
  ada.types('/remove pat');
  await pat.sees(/^\* you were taken out of the visit$/);
  const refused = again();
  await refused.sees(/^! .*\(join_token_revoked\)$/);
  assert.equal(await refused.process.ended(), 1);
  assert.deepEqual(ada.heard.filter((line) => line.includes('nobody')), []);
});

test('a line that is cut again and again loses nothing and doubles nothing', async (t) => {
  const line = await Line.start(server.origin);
  t.after(() => line.end());
  const { ada, pat } = await comeIn(t, server, { line });
  await talk(ada, pat);

  line.lose('up');
  pat.types('lost on its way up');
  await line.hasLost('up');
  line.cut();
  await pat.sees(/^\* you are back$/);
  await ada.sees(/^Pat: lost on its way up$/);
  await pat.sees(/^Pat: lost on its way up$/);

  line.lose('down');
  ada.types('lost on its way down');
  await ada.sees(/^Dr\. Ada: lost on its way down$/);
  pat.types('heard, and the reply is lost');
  await ada.sees(/^Pat: heard, and the reply is lost$/);
  line.cut();
  await pat.sees(/^\* you are back$/);
  await pat.sees(/^Dr\. Ada: lost on its way down$/);
  await pat.sees(/^Pat: heard, and the reply is lost$/);

  // The answer to `hello` is lost with the new secret in it: the one before is still good.
  line.cut();
  line.lose('down');
  await line.hasLost('down');
  line.cut();
  await pat.sees(/^\* you are back$/);

  line.takeDown();
  await pat.sees(/^\* the line is lost$/);
  pat.types('said while the line is down');
  ada.types('and meanwhile on the other side');
  await ada.sees(/^Dr\. Ada: and meanwhile/);
  line.bringUp();
  await pat.sees(/^\* you are back$/);
  await pat.sees(/^Dr\. Ada: and meanwhile/);
  await ada.sees(/^Pat: said while the line is down$/);
  await pat.sees(/^Pat: said while the line is down$/);

  assert.deepEqual(pat.heard, ada.heard, 'both saw the same, in the same order');
  assert.equal(new Set(ada.heard).size, ada.heard.length, 'nothing was seen twice');
  assert.equal(ada.heard.length, 7);
});

test('after the server was killed both are back by themselves, with a view of how things stand', async (t) => {
  let running = await Server.start();
  t.after(() => running.end());
  const { ada, pat } = await comeIn(t, running);
  await talk(ada, pat);
  await running.process.kill();
  for (const one of [ada, pat]) await one.sees(/^\* the line is lost$/);
  pat.types('said to a server that is dead');

  const { origin, data } = running;
  running = await Server.start([], { listen: new URL(origin).host, data });
  await ada.sees(/^\* hello Dr\. Ada \(provider\), you are admitted; the visit is active$/);
  await pat.sees(/^\* hello Pat \(patient\), you are admitted; the visit is active$/);
  await ada.sees(/^Pat: said to a server that is dead$/);
  ada.types('we go on');
  await pat.sees(/^Dr\. Ada: we go on$/);
  assert.deepEqual(pat.heard, ada.heard);
  assert.equal(new Set(ada.heard).size, ada.heard.length, 'a snapshot shows nothing twice');
  pat.types('/leave');
  await pat.sees(/^\* you left$/);
  await ada.sees(/^\* Pat \(patient\) is gone$/);
});

/**
 * Dr. Ada and Pat with their links, as people at two terminals.
 * @param {{consent?: boolean, line?: Line}} [how]
 */
async function comeIn(t, there, how = {}) {
  const { consent = true, line } = how;
  const { links } = await there.session({ provider: ['Dr. Ada'], patient: 'Pat' });
  const [ofAda, ofPat] = ['provider', 'patient'].map((role) => links.find((one) => one.role === role).link);
  const open = (link, ...more) => {
    const person = new Person(link, more);
    t.after(() => person.process.end());
    return person;
  };
  const ada = open(ofAda);
  const again = () => open(line ? line.link(ofPat) : ofPat, ...(consent ? ['--consent'] : []));
  await ada.sees(/^\* hello Dr\. Ada/);
  return { ada, pat: again(), again };
}

/** Pat knocks and is let in, and they talk. */
async function talk(ada, pat) {
  await pat.sees(WAITS);
  await ada.sees(/^\* Pat \(patient\) knocks/);
  ada.types('/admit');
  await pat.sees(/^\* you are in$/);
  await pat.sees(/^\* Dr\. Ada \(provider\) is admitted$/);
  ada.types('hello, Pat');
  await pat.sees(/^Dr\. Ada: hello, Pat$/);
  pat.types('hello, doctor');
  await ada.sees(/^Pat: hello, doctor$/);
  await pat.sees(/^Pat: hello, doctor$/);
}

/** Somebody at a terminal with the example client. */
class Person {
  /** Lines that were looked at: what is waited for next comes after them. */
  #seen = 0;

  constructor(link, more) {
    this.process = new Process(process.execPath, ['--experimental-websocket', CLIENT, link, ...more]);
  }

  types(line) {
    this.process.write(line);
  }

  /** Waits for a line that was not looked at before. @param {RegExp} pattern */
  async sees(pattern) {
    const { lines } = this.process;
    const next = () => lines.findIndex((line, index) => index >= this.#seen && pattern.test(line)) + 1;
    this.#seen = await until(String(pattern), next).catch((error) => {
      throw new Error(`${error.message}; there is ${JSON.stringify(lines.slice(this.#seen))}`);
    });
  }

  /** What was said, as it was shown. */
  get heard() {
    return this.process.lines.filter((line) => /^(Dr\. Ada|Pat): /.test(line));
  }
}
