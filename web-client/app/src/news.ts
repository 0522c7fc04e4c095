/** What happens in a visit, in words for those who do not see it (WCAG 2.2, 4.1.3). */
import type { Participant } from '../../sdk/src/index.ts';
import { tierWords } from './tier-words.ts';

/** What changed between two looks at who is there. */
export function news(before: readonly Participant[], after: readonly Participant[]): string[] {
  const then = new Map(before.map((participant) => [participant.id, participant]));
  const now = new Set(after.map(({ id }) => id));
  const said: string[] = [];
  for (const { id, name, state, media, tier, tierReason } of after) {
    const known = then.get(id);
    if (!known) said.push(`${name} is here.`);
    else if (state === 'lost' && known.state !== 'lost') said.push(`${name} has lost the connection.`);
    else if (state !== 'lost' && known.state === 'lost') said.push(`${name} is back.`);
    if (known && media.audio === 'muted' && known.media.audio === 'live') said.push(`${name} is muted.`);
    if (known && media.audio === 'live' && known.media.audio === 'muted') said.push(`${name} is not muted any more.`);
    if (known && tier !== known.tier) said.push(`${name}: ${tierWords(tier, tierReason, false)}`);
    if (media.screen === 'live' && known?.media.screen !== 'live') said.push(`${name} shares a screen.`);
  }
  for (const { id, name } of before) if (!now.has(id)) said.push(`${name} has left.`);
  return said;
}

/** How long something has been going on: `05:07`, `1:05:07`. */
export function clock(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const two = (value: number) => String(value).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  const rest = `${two(Math.floor((seconds % 3600) / 60))}:${two(seconds % 60)}`;
  return hours ? `${hours}:${rest}` : rest;
}
