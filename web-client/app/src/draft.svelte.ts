/** What somebody is about to say: it is theirs wherever in the page they write it. */
export class Draft {
  text = $state('');
  image: Blob | null = $state.raw(null);

  get isEmpty(): boolean {
    return this.text.trim() === '' && this.image === null;
  }
}
