/**
 * The interoperability matrix: every pair of peers, in every network, in every codec both have; a namespace for each network.
 *
 *   run.mjs [--short] [--write FILE] [--only NETWORK,…] [--peers A,B]
 *
 * A call is of two peers and makes two cells, for each is shown the other. It fails where a cell is empty for which matrix.mjs
 * names no reason. Where no namespace can be made it says so and passes, unless it is to write.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { enter, inside, skip } from '../browser/harness/namespace.mjs';
import { codecsOf, NETWORKS, PEERS, SHORT } from './matrix.mjs';

const { values: options } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    write: { type: 'string' },
    only: { type: 'string' },
    peers: { type: 'string', default: Object.keys(PEERS).join(',') },
  },
});

/** Lines of results between a namespace and who reads it. */
const MARK = 'cell: ';

/** The calls in a network: who, and in which codec. */
function callsIn(network) {
  if (options.short) {
    return SHORT.filter(([name]) => name === network).map(([, one, two]) => ({ names: [one, two], codec: 'VP8' }));
  }
  const names = options.peers.split(',').filter((name) => !PEERS[name].cannot?.[network]);
  return names.flatMap((one, index) =>
    names.slice(index).flatMap((two) => codecsOf(one, two).map((codec) => ({ names: [one, two], codec }))),
  );
}

/** In a namespace: makes its calls in a codec, one after the other. */
async function runHere(network, codec) {
  const { Network } = await import('./call.mjs');
  const place = await Network.start(network, codec);
  try {
    for (const { names } of callsIn(network).filter((call) => call.codec === codec)) {
      const began = performance.now();
      const { received, errors } = await place.call(names, codec);
      const tookMs = Math.round(performance.now() - began);
      console.log(MARK + JSON.stringify({ network, names, codec, received, errors, tookMs }));
    }
  } finally {
    await place.end();
  }
}

/** Outside: a namespace for each codec in each network, and what came of it. */
async function runAll() {
  const calls = [];
  for (const [network, { kind }] of Object.entries(NETWORKS)) {
    if (options.only && !options.only.split(',').includes(network)) continue;
    for (const codec of new Set(callsIn(network).map((call) => call.codec))) {
      let rest = '';
      const hear = (text) => {
        rest += text;
        const lines = rest.split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          if (!line.startsWith(MARK)) continue;
          const call = JSON.parse(line.slice(MARK.length));
          calls.push(call);
          console.log(said(call));
        }
      };
      const args = [fileURLToPath(import.meta.url), ...process.argv.slice(2)];
      const { code, output } = await enter(args, `${network} ${codec}`, kind, hear);
      if (process.env.VESTIBULE_TEST_LOG) console.error(output);
      if (code !== 0) throw new Error(`${network}: ${output}`);
    }
  }
  return calls;
}

function said({ network, names, codec, received, errors, tookMs }) {
  const of = (index) =>
    errors[index] ?? `${received[index]?.frames} frames of ${received[index]?.size ?? '?'} ${received[index]?.protocol ?? ''}`;
  const how = errors.some(Boolean) ? 'FAILED' : 'ok';
  return `${how}: ${NETWORKS[network].title}, ${codec}: ${names[0]} had ${of(0)}; ${names[1]} had ${of(1)} (${tookMs} ms)`;
}

/** The matrix as a page: for each network a table, publishers down, subscribers across. */
function page(calls, before) {
  const names = Object.keys(PEERS);
  const cell = (network, publisher, subscriber) => {
    if (PEERS[publisher].cannot?.[network] || PEERS[subscriber].cannot?.[network]) return '–';
    const of = calls.filter((call) => {
      const [one, two] = call.names;
      return call.network === network && ((one === publisher && two === subscriber) || (two === publisher && one === subscriber));
    });
    const codecs = of.map((call) => {
      const ok = call.names[0] === subscriber ? !call.errors[0] : !call.errors[1];
      return ok ? call.codec : `**no ${call.codec}**`;
    });
    return codecs.join(', ') || '**not tried**';
  };
  const tables = Object.entries(NETWORKS).map(([network, { title }]) => {
    const reasons = names.filter((name) => PEERS[name].cannot?.[network]);
    return [
      `## ${title}\n`,
      `| publisher ↓ subscriber → | ${names.map((name) => PEERS[name].title).join(' | ')} |`,
      `|---|${names.map(() => '---|').join('')}`,
      ...names.map((one) => `| ${PEERS[one].title} | ${names.map((two) => cell(network, one, two)).join(' | ')} |`),
      ...reasons.map((name) => `\n${PEERS[name].title}: ${PEERS[name].cannot?.[network]}.`),
    ].join('\n');
  });
  const lacks = names.flatMap((name) =>
    Object.entries(PEERS[name].lacks ?? {}).map(([codec, why]) => `- ${PEERS[name].title} without ${codec}: ${why}.`),
  );
  const [head] = before.split('<!-- matrix -->');
  return `${head}<!-- matrix -->\n\n${tables.join('\n\n')}\n\n## Codecs\n\n${lacks.join('\n')}\n`;
}

if (inside) await runHere(...inside.split(' '));
else if (skip) {
  const titles = Object.values(NETWORKS).map(({ title }) => title);
  console.log(`skipped: every call of the interoperability matrix (${titles.join(', ')}): ${skip}`);
  process.exitCode = options.write ? 1 : 0;
} else {
  const calls = await runAll();
  if (options.write) writeFileSync(options.write, page(calls, readFileSync(options.write, 'utf8')));
  const failed = calls.filter(({ errors }) => errors.some(Boolean));
  console.log(`${calls.length - failed.length} passed, ${failed.length} failed`);
  process.exitCode = failed.length || !calls.length ? 1 : 0;
}
