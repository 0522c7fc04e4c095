/** Writes the compressed forms beside every text file of the build: the server sends these, and compresses nothing. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const DIST = fileURLToPath(new URL('../app/dist/', import.meta.url));
const TEXT = new Set(['.css', '.html', '.js', '.json', '.svg', '.txt']);
const BROTLI = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } };

let plain = 0;
let compressed = 0;
for (const entry of await readdir(DIST, { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath, entry.name);
  if (!entry.isFile() || !TEXT.has(extname(path))) continue;
  const bytes = await readFile(path);
  const gzip = gzipSync(bytes, { level: 9 });
  await writeFile(`${path}.gz`, gzip);
  await writeFile(`${path}.br`, brotliCompressSync(bytes, BROTLI));
  plain += bytes.length;
  compressed += gzip.length;
}
console.log(`compressed: ${plain} bytes to ${compressed} (gzip)`);
