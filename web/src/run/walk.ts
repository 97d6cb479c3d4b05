// Where an arrow key leads from a node: along an edge, or to a neighbour in the same layer. Pure.

import type { Layout } from './layout.ts';

type Way = 'on' | 'back' | 'previous' | 'next';

const RIGHT: Record<string, Way> = { ArrowRight: 'on', ArrowLeft: 'back', ArrowUp: 'previous', ArrowDown: 'next' };
const DOWN: Record<string, Way> = { ArrowDown: 'on', ArrowUp: 'back', ArrowLeft: 'previous', ArrowRight: 'next' };

export function toward(key: string, from: string, layout: Layout, edges: readonly (readonly [string, string])[], direction: 'right' | 'down'): string | null {
  if (key === 'Home') return layout.layers[0]?.[0] ?? null;
  if (key === 'End') return layout.layers.at(-1)?.[0] ?? null;
  const way = (direction === 'right' ? RIGHT : DOWN)[key];
  const box = layout.boxes.get(from);
  if (!way || !box) return null;
  if (way === 'previous' || way === 'next') {
    const layer = layout.layers[box.layer] ?? [];
    return layer[layer.indexOf(from) + (way === 'next' ? 1 : -1)] ?? null;
  }
  const ends = edges.flatMap(([a, b]) => (way === 'on' && a === from ? [b] : way === 'back' && b === from ? [a] : []));
  // Of several edges the one to the nearest layer, and there to the box that lies straightest.
  const far = (name: string): number => {
    const other = layout.boxes.get(name);
    if (!other) return Number.POSITIVE_INFINITY;
    const aside = direction === 'right' ? Math.abs(other.y - box.y) : Math.abs(other.x - box.x);
    return Math.abs(other.layer - box.layer) * 1e6 + aside;
  };
  return ends.sort((a, b) => far(a) - far(b))[0] ?? null;
}
