// The time axis of the Gantt chart. Pure.
// Promises: ticks stand on round values, at most TICKS_MAX; while a run goes on the end moves in steps, so bars keep still.

const STEPS_MS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000,
  3_600_000, 7_200_000, 14_400_000, 21_600_000, 43_200_000, 86_400_000,
];
const HEADROOM = 1.04;
const LENGTH_MS_MIN = 10;

export interface Axis {
  from: number;
  lengthMs: number;
  ticks: number[];
  stepMs: number;
}

export function axisOf(from: number, to: number, growing: boolean, ticksMax: number): Axis {
  const lasted = Math.max(LENGTH_MS_MIN, to - from);
  const stepMs = stepFor(lasted * (growing ? HEADROOM : 1), ticksMax);
  const lengthMs = growing ? Math.ceil((lasted * HEADROOM) / stepMs) * stepMs : lasted;
  const ticks: number[] = [];
  for (let at = 0; at <= lengthMs; at += stepMs) ticks.push(at);
  return { from, lengthMs, ticks, stepMs };
}

function stepFor(lengthMs: number, ticksMax: number): number {
  const wanted = lengthMs / Math.max(1, ticksMax);
  const found = STEPS_MS.find((step) => step >= wanted);
  if (found !== undefined) return found;
  const day = STEPS_MS.at(-1) ?? 1;
  return Math.ceil(wanted / day) * day;
}

/** `0`, `250 ms`, `4 s`, `1:30`, `2 h 15` since the start. */
export function tickText(ms: number, stepMs: number): string {
  if (ms === 0) return '0';
  if (stepMs < 1_000 && ms < 1_000) return `${ms} ms`;
  if (ms < 60_000) return `${Number((ms / 1000).toFixed(3))} s`;
  const minutes = Math.floor(ms / 60_000);
  if (ms < 3_600_000) return `${minutes}:${String(Math.floor(ms / 1000) % 60).padStart(2, '0')}`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')}`;
}

/** Where a moment stands on the axis, in percent, held within it. */
export function percent(axis: Axis, at: number): number {
  return Math.min(100, Math.max(0, ((at - axis.from) / axis.lengthMs) * 100));
}
