// What the palette offers. Owns the list; pages add what can be done on them for as long as they are open.

export interface Command {
  title: string;
  group: string;
  /** Shown at the right: keys, or what tells two of one title apart. */
  hint?: string;
  run: () => void;
}

const layers: (() => Command[])[] = [];

/** For `$effect`: offered until the returned function is called; read anew whenever the palette opens. */
export function offer(commands: () => Command[]): () => void {
  layers.push(commands);
  return () => void layers.splice(layers.indexOf(commands), 1);
}

export function offered(): Command[] {
  return [...layers].reverse().flatMap((commands) => commands());
}
