import { expect, test } from 'vitest';
import { collapse, loudest, OPEN_NODES_MAX } from '../src/run/collapse.ts';
import { layOut, type Layout, type Measures } from '../src/run/layout.ts';
import { toward } from '../src/run/walk.ts';
import { randomFrom } from './events.ts';

const RIGHT: Measures = { direction: 'right', width: 100, height: 40, gapAlong: 30, gapAcross: 10 };
const DOWN: Measures = { ...RIGHT, direction: 'down' };
type Edge = [string, string];

function randomGraph(seed: number): { names: string[]; edges: Edge[] } {
  const random = randomFrom(seed);
  const names = Array.from({ length: 2 + Math.floor(random() * 40) }, (_, index) => `n${index}`);
  const edges: Edge[] = [];
  for (let to = 1; to < names.length; to += 1) {
    for (let tries = Math.floor(random() * 3); tries >= 0; tries -= 1) edges.push([names[Math.floor(random() * to)] ?? '', names[to] ?? '']);
  }
  return { names, edges };
}

function expectSound(layout: Layout, names: string[], edges: Edge[], measures: Measures, note: string): void {
  const boxes = [...layout.boxes.values()];
  expect(boxes, note).toHaveLength(names.length);
  for (const [from, to] of edges) expect(layout.boxes.get(from)?.layer ?? 0, note).toBeLessThan(layout.boxes.get(to)?.layer ?? 0);
  for (const box of boxes) {
    expect(box.x, note).toBeGreaterThanOrEqual(0);
    expect(box.y, note).toBeGreaterThanOrEqual(0);
    expect(box.x + measures.width, note).toBeLessThanOrEqual(layout.width);
    expect(box.y + measures.height, note).toBeLessThanOrEqual(layout.height);
    for (const other of boxes) {
      if (other === box) continue;
      const apart = Math.abs(other.x - box.x) >= measures.width - 0.6 || Math.abs(other.y - box.y) >= measures.height - 0.6;
      expect(apart, `${note}: ${box.name} and ${other.name}`).toBe(true);
    }
  }
}

test.each([['right', RIGHT], ['down', DOWN]] as const)('edges lead on, boxes are apart and inside, %s, 150 random graphs', (_, measures) => {
  for (let seed = 1; seed <= 150; seed += 1) {
    const { names, edges } = randomGraph(seed);
    expectSound(layOut(names, edges, measures), names, edges, measures, `seed ${seed}`);
  }
});

test('a chain runs straight', () => {
  const { boxes } = layOut(['a', 'b', 'c'], [['a', 'b'], ['b', 'c']], RIGHT);
  expect(new Set([...boxes.values()].map(({ y }) => y)).size).toBe(1);
  expect([...boxes.values()].map(({ layer }) => layer)).toEqual([0, 1, 2]);
});

test('a fan opens around its root', () => {
  const { boxes } = layOut(['a', 'b', 'c', 'd'], [['a', 'b'], ['a', 'c'], ['a', 'd']], RIGHT);
  expect(boxes.get('a')?.y).toBe(boxes.get('c')?.y);
});

test('crossings that can be undone are undone', () => {
  const { layers } = layOut(['a', 'b', 'x', 'y'], [['a', 'y'], ['b', 'x']], RIGHT);
  expect(layers[0]?.map((name) => (name === 'a' ? 'y' : 'x'))).toEqual(layers[1]);
});

test('the same graph is laid out the same', () => {
  const { names, edges } = randomGraph(7);
  expect(layOut(names, edges, RIGHT)).toEqual(layOut(names, edges, RIGHT));
});

test('what the server would refuse does not hang the page', () => {
  const layout = layOut(['a', 'b', 'c'], [['a', 'b'], ['b', 'a'], ['c', 'c'], ['c', 'nobody']], RIGHT);
  expect(layout.boxes.size).toBe(3);
  expect(layOut([], [], RIGHT)).toMatchObject({ wires: [], layers: [[]] });
});

test('3,000 nodes are laid out in time for a click', () => {
  const names = Array.from({ length: 3_000 }, (_, index) => `n${index}`);
  const edges = names.slice(1).map((name, index): Edge => [names[Math.floor(index / 3)] ?? '', name]);
  layOut(names, edges, RIGHT);
  const started = performance.now();
  layOut(names, edges, RIGHT);
  expect(performance.now() - started).toBeLessThan(1_000);
});

test('up to the bound nothing is grouped, one more and fan-outs are', () => {
  const fan = (size: number): { names: string[]; edges: Edge[] } => {
    const mapped = Array.from({ length: size }, (_, index) => `host[${index}]`);
    return { names: ['list', ...mapped, 'merge'], edges: mapped.flatMap((name): Edge[] => [['list', name], [name, 'merge']]) };
  };
  const open = fan(OPEN_NODES_MAX - 2);
  expect(collapse(open.names, open.edges).groups).toHaveLength(OPEN_NODES_MAX);
  const closed = fan(OPEN_NODES_MAX - 1);
  const collapsed = collapse(closed.names, closed.edges);
  expect(collapsed.groups.map(({ name, members }) => [name, members.length])).toEqual([['list', 1], ['host', OPEN_NODES_MAX - 1], ['merge', 1]]);
  expect(collapsed.edges).toEqual([['list', 'host'], ['host', 'merge']]);
});

test('a fan-out of unlike names is grouped by what it hangs between', () => {
  const names = ['root', ...Array.from({ length: 200 }, (_, index) => `leaf-${index}x`)];
  const collapsed = collapse(names, names.slice(1).map((name): Edge => ['root', name]));
  expect(collapsed.groups.map(({ name }) => name)).toEqual(['root', 'leaf-0x … leaf-199x']);
  expect(collapsed.groups.flatMap(({ members }) => members).sort()).toEqual([...names].sort());
});

test('a group shows the state that most wants to be seen', () => {
  expect(loudest(['completed', 'failed', 'running'])).toBe('failed');
  expect(loudest(['completed', 'skipped'])).toBe('completed');
});

test('arrow keys follow the edges', () => {
  const edges: Edge[] = [['a', 'b'], ['a', 'c'], ['b', 'd'], ['c', 'd']];
  const layout = layOut(['a', 'b', 'c', 'd'], edges, RIGHT);
  const go = (key: string, from: string) => toward(key, from, layout, edges, 'right');
  expect([go('ArrowRight', 'b'), go('ArrowLeft', 'b'), go('ArrowDown', 'b'), go('ArrowUp', 'b'), go('ArrowUp', 'c')]).toEqual(['d', 'a', 'c', null, 'b']);
  expect([go('Home', 'd'), go('End', 'a'), go('x', 'a')]).toEqual(['a', 'd', null]);
  expect(toward('ArrowDown', 'a', layOut(['a', 'b'], [['a', 'b']], DOWN), [['a', 'b']], 'down')).toBe('b');
});
