// How the palette finds. Pure.

/** How well a text answers a query: all of its letters in order, best at the starts of words. Null: not at all. */
export function score(text: string, query: string): number | null {
  const wanted = query.toLowerCase().replace(/\s+/g, '');
  const within = text.toLowerCase();
  let from = 0;
  let total = 0;
  let last = -2;
  for (const letter of wanted) {
    const at = within.indexOf(letter, from);
    if (at < 0) return null;
    const startsWord = at === 0 || /[^a-z0-9]/.test(within[at - 1] ?? '');
    total += at === last + 1 ? 3 : startsWord ? 2 : 0;
    last = at;
    from = at + 1;
  }
  return total - within.length / 100;
}
