/** The whole visit through the real page on this machine, every screen of it kept and checked. */
import assert from 'node:assert/strict';
import { get } from 'node:http';
import { test } from 'node:test';

import { result } from './harness/result.mjs';
import { look } from './harness/screens.mjs';
import { serverAndBrowser } from './harness/together.mjs';
import { visit } from './harness/visit.mjs';

/** The patient's line may be thin. */
const PATIENT_JS_BYTES_MAX = 60_000;

const { server, chromium } = await serverAndBrowser();

test('a visit from the link to the end', async (t) => {
  const { times } = await visit(t, { server, chromium, look });
  result('a visit', times);
});

test('the scripts a patient loads are small', async () => {
  const { links } = await server.session();
  const bytes = await javaScriptBytes(links.find(({ role }) => role === 'patient').link);
  result('patient path', { 'bytes of JavaScript (gzip)': bytes });
  assert.ok(bytes > 0 && bytes <= PATIENT_JS_BYTES_MAX, `${bytes} bytes`);
});

/** Bytes of all scripts a patient's page loads, as they go over the line. */
async function javaScriptBytes(link) {
  const page = await chromium.blank();
  const scripts = new Set();
  page.on('response', (response) => {
    if (response.request().resourceType() === 'script') scripts.add(response.url());
  });
  await page.goto(link, { waitUntil: 'networkidle' });
  await page.close();
  const sizes = await Promise.all([...scripts].map(gzipBytes));
  return sizes.reduce((sum, size) => sum + size, 0);
}

function gzipBytes(url) {
  return new Promise((resolve, reject) => {
    get(url, { headers: { 'accept-encoding': 'gzip' } }, (response) => {
      assert.equal(response.headers['content-encoding'], 'gzip', url);
      let bytes = 0;
      response.on('data', (data) => {
        bytes += data.length;
      });
      response.on('end', () => resolve(bytes));
    }).on('error', reject);
  });
}
