// Makes large graphs small enough to read: members of a fan-out become one group. Pure.
// Promises: up to OPEN_NODES_MAX nodes nothing is grouped; every node is in exactly one group; edges lead between groups.

export const OPEN_NODES_MAX = 100;
const GROUP_NODES_MIN = 3;

export interface Group {
  /** The node's own name, or the name of the fan-out. */
  name: string;
  members: string[];
}

export interface Collapsed {
  groups: Group[];
  edges: [string, string][];
  groupOf: Map<string, string>;
}

export function collapse(names: string[], edges: readonly (readonly [string, string])[]): Collapsed {
  if (names.length <= OPEN_NODES_MAX) return grouped(names, edges, new Map());
  const byMap = bucket(names, (name) => /^(.+)\[\d+\]$/.exec(name)?.[1] ?? null);
  const first = grouped(names, edges, byMap);
  if (first.groups.length <= OPEN_NODES_MAX) return first;
  return grouped(names, edges, new Map([...byMap, ...bySameNeighbours(first, byMap)]));
}

/** Name of a bucket for each name that shares it with enough others. */
function bucket(names: string[], keyOf: (name: string) => string | null, title: (key: string, members: string[]) => string = (key) => key): Map<string, string> {
  const buckets = new Map<string, string[]>();
  for (const name of names) {
    const key = keyOf(name);
    if (key !== null) buckets.set(key, [...(buckets.get(key) ?? []), name]);
  }
  const titles = new Map<string, string>();
  for (const [key, members] of buckets) {
    if (members.length < GROUP_NODES_MIN) continue;
    for (const name of members) titles.set(name, title(key, members));
  }
  return titles;
}

function bySameNeighbours({ groups, edges }: Collapsed, taken: Map<string, string>): Map<string, string> {
  const before = new Map<string, string[]>();
  const after = new Map<string, string[]>();
  for (const [from, to] of edges) {
    before.set(to, [...(before.get(to) ?? []), from]);
    after.set(from, [...(after.get(from) ?? []), to]);
  }
  const alone = groups.map(({ name }) => name).filter((name) => !taken.has(name) && groups.find((group) => group.name === name)?.members.length === 1);
  const keyOf = (name: string): string => JSON.stringify([before.get(name)?.toSorted() ?? [], after.get(name)?.toSorted() ?? []]);
  return bucket(alone, keyOf, (_, members) => `${members[0]} … ${members.at(-1)}`);
}

function grouped(names: string[], edges: readonly (readonly [string, string])[], titles: Map<string, string>): Collapsed {
  const groups = new Map<string, Group>();
  const groupOf = new Map<string, string>();
  for (const name of names) {
    const title = titles.get(name) ?? name;
    groupOf.set(name, title);
    const group = groups.get(title) ?? { name: title, members: [] };
    group.members.push(name);
    groups.set(title, group);
  }
  const seen = new Set<string>();
  const kept: [string, string][] = [];
  for (const [from, to] of edges) {
    const [a, b] = [groupOf.get(from), groupOf.get(to)];
    if (a === undefined || b === undefined || a === b || seen.has(`${a}\0${b}`)) continue;
    seen.add(`${a}\0${b}`);
    kept.push([a, b]);
  }
  return { groups: [...groups.values()], edges: kept, groupOf };
}

/** The state that a group shows: the one that most wants to be seen. */
export function loudest(statuses: string[]): string {
  const order = ['failed', 'running', 'waiting', 'scheduled', 'pending', 'cancelled', 'completed', 'skipped'];
  return order.find((status) => statuses.includes(status)) ?? statuses[0] ?? 'pending';
}
