import { expect, test } from 'vitest';

import { Work } from './work.ts';

test('what is asked for meanwhile comes after, and is not asked for twice', async () => {
  const work = new Work();
  const done: string[] = [];
  let go = () => {};
  const gate = new Promise<void>((resolve) => (go = resolve));
  const first = work.run('list', async () => {
    await gate;
    done.push('list');
  });
  const note = (name: string) => work.run(name, () => Promise.resolve(void done.push(name)));
  const rest = [note('revoke'), note('revoke'), note('rotate')];
  expect(['list', 'revoke', 'rotate', 'make'].map((name) => work.has(name))).toEqual([true, true, true, false]);
  go();
  await Promise.all([first, ...rest]);
  expect(done).toEqual(['list', 'revoke', 'rotate']);
  expect(work.has('revoke')).toBe(false);
});

test('one that fails does not hold up the next, and nothing comes after the end', async () => {
  const work = new Work();
  const done: string[] = [];
  await expect(work.run('a', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  await work.run('b', () => Promise.resolve(void done.push('b')));
  work.stop();
  await work.run('c', () => Promise.resolve(void done.push('c')));
  expect(done).toEqual(['b']);
});
