/** Child processes that speak in lines. Each is ended by its own id. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

import { until } from './wait.mjs';

/** How long a process may take to end when told, before it is killed. */
const END_MS_MAX = 10_000;

export class Process {
  /** Lines of its stdout so far. */
  lines = [];
  #child;
  #exited;
  #stderr = '';

  /**
   * @param {string} program
   * @param {string[]} args
   * @param {NodeJS.ProcessEnv} [env]
   */
  constructor(program, args, env = process.env) {
    // What a program says to a person has no backtrace in it.
    env = { ...env, RUST_BACKTRACE: '0' };
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env });
    // `exit` is never late: nothing waits between spawn and here.
    this.#exited = Promise.race([once(this.#child, 'exit'), once(this.#child, 'error')]);
    this.#exited.catch(() => undefined);
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.lines.push(line));
    this.#child.stderr.on('data', (data) => {
      this.#stderr = (this.#stderr + data).slice(-20_000);
      if (process.env.VESTIBULE_TEST_LOG) process.stderr.write(data);
    });
    this.#child.stdin.on('error', () => undefined);
  }

  get pid() {
    return this.#child.pid;
  }

  get stderr() {
    return this.#stderr;
  }

  /** The first line that matches, as its match. */
  async line(pattern) {
    return until(`a line like ${pattern} from ${this.#child.spawnfile}; it said ${this.#stderr}`, () => {
      const found = this.lines.map((line) => pattern.exec(line)).find(Boolean);
      if (!found && this.#child.exitCode !== null) throw new Error(`${this.#child.spawnfile} ended: ${this.#stderr}`);
      return found;
    });
  }

  write(line) {
    this.#child.stdin.write(`${line}\n`);
  }

  /** Waits until it has ended by itself; its exit code. */
  async ended() {
    await this.#exited;
    return this.#child.exitCode;
  }

  /** Ends it without a word, as a power cut would. */
  async kill() {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** Ends it as a person would; returns its exit code, `null` if it had to be killed. */
  async end(signal = 'SIGTERM') {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill(signal);
      const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_MS_MAX);
      await this.#exited;
      clearTimeout(timer);
    }
    return this.#child.exitCode;
  }
}
