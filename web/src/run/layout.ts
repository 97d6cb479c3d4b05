// Places a graph in layers. Pure: names and edges in, boxes and wires out, the same for the same input.
// Promises: an edge always leads to a later layer; boxes of a layer never overlap; long edges run straight where they can.
// Layers by longest path, order by medians of neighbours, places by least squares under the order (pool adjacent violators).

export interface Box {
  name: string;
  x: number;
  y: number;
  layer: number;
}

export interface Wire {
  from: string;
  to: string;
  /** The `d` of an SVG path. */
  path: string;
}

export interface Layout {
  boxes: Map<string, Box>;
  wires: Wire[];
  /** Names in each layer, in their order. */
  layers: string[][];
  width: number;
  height: number;
}

export interface Measures {
  /** `right`: layers are columns; `down`: layers are rows. */
  direction: 'right' | 'down';
  width: number;
  height: number;
  /** Between layers, and between boxes of one layer. */
  gapAlong: number;
  gapAcross: number;
}

/** A box, or a bend of an edge that passes through a layer. */
interface Slot {
  name: string | null;
  layer: number;
  order: number;
  /** Centre across the layers. */
  place: number;
  before: Slot[];
  after: Slot[];
}

const SWEEPS = 8;
/** Enough for small graphs to come to rest; large ones are good enough sooner. */
const RELAXATIONS = 32;
const RELAXED_SLOTS_MAX = 24_000;
/** A bend needs less room than a box. */
const BEND_SHARE = 0.35;
const MARGIN = 4;

export function layOut(names: string[], edges: readonly (readonly [string, string])[], measures: Measures): Layout {
  const known = new Set(names);
  const good = edges.filter(([from, to]) => known.has(from) && known.has(to) && from !== to);
  const ranks = rank(names, good);
  const { layers, chains } = slots(names, good.filter(([from, to]) => (ranks.get(from) ?? 0) < (ranks.get(to) ?? 0)), ranks);
  order(layers);
  place(layers, measures);
  return draw(layers, chains, measures);
}

/** Longest path from a root. Names on a cycle, which the server refuses, stay at 0 rather than hang the page. */
function rank(names: string[], edges: readonly (readonly [string, string])[]): Map<string, number> {
  const ranks = new Map(names.map((name) => [name, 0]));
  const open = new Map(names.map((name) => [name, 0]));
  const after = new Map<string, string[]>(names.map((name) => [name, []]));
  for (const [from, to] of edges) {
    after.get(from)?.push(to);
    open.set(to, (open.get(to) ?? 0) + 1);
  }
  const ready = names.filter((name) => open.get(name) === 0);
  for (const name of ready) {
    for (const next of after.get(name) ?? []) {
      ranks.set(next, Math.max(ranks.get(next) ?? 0, (ranks.get(name) ?? 0) + 1));
      const left = (open.get(next) ?? 0) - 1;
      open.set(next, left);
      if (left === 0) ready.push(next);
    }
  }
  return ranks;
}

interface Slots {
  layers: Slot[][];
  chains: { from: string; to: string; slots: Slot[] }[];
}

function slots(names: string[], edges: readonly (readonly [string, string])[], ranks: Map<string, number>): Slots {
  const layers: Slot[][] = [];
  const add = (name: string | null, layer: number): Slot => {
    const row = (layers[layer] ??= []);
    const slot: Slot = { name, layer, order: row.length, place: 0, before: [], after: [] };
    row.push(slot);
    return slot;
  };
  for (let layer = Math.max(0, ...ranks.values()); layer >= 0; layer -= 1) layers[layer] = [];
  const boxes = new Map(names.map((name) => [name, add(name, ranks.get(name) ?? 0)]));
  const chains: Slots['chains'] = [];
  for (const [from, to] of edges) {
    const start = boxes.get(from);
    const end = boxes.get(to);
    if (!start || !end) continue;
    const chain = [start];
    for (let layer = start.layer + 1; layer < end.layer; layer += 1) chain.push(add(null, layer));
    chain.push(end);
    for (const [index, slot] of chain.slice(1).entries()) {
      chain[index]?.after.push(slot);
      const previous = chain[index];
      if (previous) slot.before.push(previous);
    }
    chains.push({ from, to, slots: chain });
  }
  return { layers, chains };
}

/** Sweeps to and fro, and keeps the order with the fewest crossings that it met. */
function order(layers: Slot[][]): void {
  let best = layers.map((layer) => [...layer]);
  let fewest = crossings(layers);
  for (let sweep = 0; sweep < SWEEPS && fewest > 0; sweep += 1) {
    const forward = sweep % 2 === 0;
    const along = forward ? layers : [...layers].reverse();
    for (const layer of along) {
      const keyed = layer.map((slot) => ({ slot, key: median((forward ? slot.before : slot.after).map((other) => other.order)) ?? slot.order }));
      keyed.sort((a, b) => a.key - b.key || a.slot.order - b.slot.order);
      keyed.forEach(({ slot }, index) => {
        slot.order = index;
        layer[index] = slot;
      });
    }
    const found = crossings(layers);
    if (found < fewest) {
      fewest = found;
      best = layers.map((layer) => [...layer]);
    }
  }
  best.forEach((layer, index) => {
    layers[index] = layer;
    layer.forEach((slot, at) => (slot.order = at));
  });
}

function median(values: number[]): number | null {
  if (values.length === 0) return null;
  const sorted = values.sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** Counts inversions of the edges between neighbouring layers with a Fenwick tree: n log n. */
function crossings(layers: Slot[][]): number {
  let total = 0;
  for (const [index, layer] of layers.entries()) {
    const size = layers[index + 1]?.length ?? 0;
    if (size === 0) continue;
    const tree = new Uint32Array(size + 1);
    let placed = 0;
    for (const slot of layer) {
      const ends = slot.after.map((other) => other.order).sort((a, b) => a - b);
      for (const end of ends) {
        let upTo = 0;
        for (let at = end + 1; at > 0; at -= at & -at) upTo += tree[at] ?? 0;
        total += placed - upTo;
      }
      for (const end of ends) {
        for (let at = end + 1; at <= size; at += at & -at) tree[at] = (tree[at] ?? 0) + 1;
        placed += 1;
      }
    }
  }
  return total;
}

function place(layers: Slot[][], measures: Measures): void {
  const across = measures.direction === 'right' ? measures.height : measures.width;
  const extent = (slot: Slot): number => (slot.name === null ? across * BEND_SHARE : across) + measures.gapAcross;
  for (const layer of layers) {
    let at = 0;
    for (const slot of layer) {
      slot.place = at + extent(slot) / 2;
      at += extent(slot);
    }
    for (const slot of layer) slot.place -= at / 2;
  }
  const passes = Math.max(4, Math.min(RELAXATIONS, Math.floor(RELAXED_SLOTS_MAX / Math.max(1, layers.reduce((sum, layer) => sum + layer.length, 0)))));
  for (let pass = 0; pass < passes; pass += 1) {
    for (const layer of pass % 2 === 0 ? layers : [...layers].reverse()) {
      settle(layer, extent, (slot) => [...slot.before, ...slot.after]);
    }
  }
  // At last towards what comes before alone, so that chains run straight.
  for (const layer of layers) settle(layer, extent, (slot) => slot.before);
}

/** Moves a layer towards the means of its neighbours, as near as order and extents allow. */
function settle(layer: Slot[], extent: (slot: Slot) => number, pulledBy: (slot: Slot) => Slot[]): void {
  let offset = 0;
  const blocks: { sum: number; weight: number; slots: { slot: Slot; offset: number }[] }[] = [];
  for (const slot of layer) {
    offset += extent(slot) / 2;
    const neighbours = pulledBy(slot);
    const wanted = neighbours.length > 0 ? neighbours.reduce((sum, other) => sum + other.place, 0) / neighbours.length : slot.place;
    // A bend that moves bends two edges: it holds its wish harder than a box.
    const weight = slot.name === null ? 4 : 1;
    blocks.push({ sum: (wanted - offset) * weight, weight, slots: [{ slot, offset }] });
    offset += extent(slot) / 2;
    for (let last = blocks.length - 1; last > 0; last -= 1) {
      const block = blocks[last];
      const previous = blocks[last - 1];
      if (!block || !previous || previous.sum / previous.weight <= block.sum / block.weight) break;
      blocks.splice(last - 1, 2, {
        sum: previous.sum + block.sum,
        weight: previous.weight + block.weight,
        slots: [...previous.slots, ...block.slots],
      });
    }
  }
  for (const block of blocks) for (const { slot, offset } of block.slots) slot.place = block.sum / block.weight + offset;
}

function draw(layers: Slot[][], chains: Slots['chains'], measures: Measures): Layout {
  const { direction, width, height, gapAlong } = measures;
  const right = direction === 'right';
  const along = right ? width : height;
  const across = right ? height : width;
  const all = layers.flat();
  const least = Math.min(0, ...all.map((slot) => slot.place - (slot.name === null ? 0 : across / 2)));
  const most = Math.max(0, ...all.map((slot) => slot.place + (slot.name === null ? 0 : across / 2)));
  const start = (layer: number): number => MARGIN + layer * (along + gapAlong);
  const centre = (slot: Slot): number => Math.round((slot.place - least + MARGIN) * 2) / 2;
  const point = (a: number, b: number): string => (right ? `${a} ${b}` : `${b} ${a}`);

  const boxes = new Map<string, Box>();
  for (const slot of all) {
    if (slot.name === null) continue;
    const [a, b] = [start(slot.layer), centre(slot) - across / 2];
    boxes.set(slot.name, { name: slot.name, layer: slot.layer, x: right ? a : b, y: right ? b : a });
  }
  const wires = chains.map(({ from, to, slots: chain }) => {
    let path = '';
    chain.forEach((slot, index) => {
      const next = chain[index + 1];
      if (!next) return;
      const leave = start(slot.layer) + along;
      const enter = start(next.layer);
      if (index === 0) path = `M${point(leave, centre(slot))}`;
      const half = (leave + enter) / 2;
      path += `C${point(half, centre(slot))} ${point(half, centre(next))} ${point(enter, centre(next))}`;
      // Through the layer that a bend stands in, straight on.
      if (next.name === null) path += `L${point(enter + along, centre(next))}`;
    });
    return { from, to, path };
  });
  const length = MARGIN * 2 + layers.length * along + Math.max(0, layers.length - 1) * gapAlong;
  const breadth = most - least + MARGIN * 2;
  return {
    boxes,
    wires,
    layers: layers.map((layer) => layer.flatMap(({ name }) => (name === null ? [] : [name]))),
    width: Math.ceil(right ? length : breadth),
    height: Math.ceil(right ? breadth : length),
  };
}
