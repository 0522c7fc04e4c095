/** What somebody is about to say: it is theirs wherever in the page they write it, and a reload of the tab keeps the words. */

const KEY = 'vestibule.draft';

export class Draft {
  image: Blob | null = $state.raw(null);
  #text = $state(recalled());

  get text(): string {
    return this.#text;
  }

  set text(text: string) {
    this.#text = text;
    try {
      if (text === '') sessionStorage.removeItem(KEY);
      else sessionStorage.setItem(KEY, text);
    } catch {
      // A browser that keeps nothing loses it with the page.
    }
  }

  get isEmpty(): boolean {
    return this.text.trim() === '' && this.image === null;
  }

  /** Nobody goes on with it. */
  forget(): void {
    this.text = '';
    this.image = null;
  }
}

function recalled(): string {
  try {
    return sessionStorage.getItem(KEY) ?? '';
  } catch {
    return '';
  }
}
