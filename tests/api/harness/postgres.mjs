/**
 * A PostgreSQL server of the tests' own, from the system's package, in a temporary folder, reached by a socket alone.
 * It runs as an ordinary user, as PostgreSQL asks for.
 */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Process } from '../../browser/harness/process.mjs';
import { until } from '../../browser/harness/wait.mjs';

/** Where distributions keep the server's programs, which are on nobody's PATH. */
const PACKAGE_FOLDER = '/usr/lib/postgresql';

export class Postgres {
  #process;
  #root;

  constructor(process, root) {
    this.#process = process;
    this.#root = root;
    this.url = `postgres://vestibule@${root.replaceAll('/', '%2F')}/postgres`;
  }

  static async start() {
    const [version] = (await readdir(PACKAGE_FOLDER)).sort((a, b) => Number(b) - Number(a));
    const programs = join(PACKAGE_FOLDER, version, 'bin');
    const root = await mkdtemp(join(tmpdir(), 'vestibule-postgres-'));
    const data = join(root, 'data');
    if (process.getuid?.() === 0) execFileSync('chown', ['postgres', root]);
    const [program, ...args] = asUser(join(programs, 'initdb'));
    const how = ['--auth=trust', '--no-sync', '--username=vestibule', '--encoding=UTF8', '--locale=C', '-D', data];
    execFileSync(program, [...args, ...how], { cwd: '/', stdio: 'pipe' });
    const [server, ...before] = asUser(join(programs, 'postgres'));
    const serve = ['-D', data, '-k', root, '-c', 'listen_addresses=', '-c', 'fsync=off'];
    const started = new Process(server, [...before, ...serve]);
    await until(`PostgreSQL in ${root}; it said ${started.stderr}`, () => {
      try {
        execFileSync(join(programs, 'pg_isready'), ['-q', '-h', root]);
        return true;
      } catch {
        return false;
      }
    });
    return new Postgres(started, root);
  }

  /** Ends it at once, with whoever is connected. */
  async end() {
    await this.#process.end('SIGINT');
    await rm(this.#root, { recursive: true, force: true });
  }
}

function asUser(program) {
  if (process.getuid?.() !== 0) return [program];
  return ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', program];
}
