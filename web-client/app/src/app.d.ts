import type { OwnMedia } from './own-media.svelte.ts';
import type { Session } from '../../sdk/src/index.ts';

declare global {
  interface Window {
    /** The session of now, for support and for tests. */
    vestibule?: { session: Session; media: OwnMedia };
  }
}
