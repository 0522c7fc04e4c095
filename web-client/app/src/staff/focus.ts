/** Where the keyboard goes on when a form, a button or a row is there no more. */
import { tick } from 'svelte';

/** To what has this identifier, once it is on the screen. */
export async function focusOn(id: string): Promise<void> {
  await tick();
  document.getElementById(id)?.focus();
}

/** To the first field of a form that opens. */
export function focusFirst(form: HTMLElement): void {
  form.querySelector<HTMLElement>('input:not([readonly]), select')?.focus();
}

/** To the first field that is wrong. */
export async function focusWrong(form: HTMLElement | undefined): Promise<void> {
  await tick();
  form?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
}

/** What the browser finds wrong in a form, by the names of its fields: said beside them, and not in a bubble that goes. */
export function wrongIn(form: HTMLFormElement): Record<string, string> {
  const wrong: Record<string, string> = {};
  for (const field of form.elements) {
    if (field instanceof HTMLInputElement && field.name && !field.validity.valid) wrong[field.name] = saidOf(field.validity);
  }
  return wrong;
}

function saidOf({ badInput, rangeOverflow, rangeUnderflow }: ValidityState): string {
  if (badInput) return 'Complete the date, or clear it.';
  if (rangeOverflow) return 'Choose a date within the next ten years.';
  if (rangeUnderflow) return 'Choose a date in the future.';
  return 'Fill this in.';
}
